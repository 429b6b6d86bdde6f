"""Forbidden output paths: the registry's own files, linked bases, and misleading endings."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dsvd_registry.export import FORMATS

from .conftest import Dsvd

# What each command that writes a file is given before the path.
WRITERS = {
    "materialize": "materialize subject-42 --force -o",
    "container": "export subject-42 --format dsvd --force -o",
    "lora": "export subject-42 --format kohya --force -o",
    "plot": "curve subject-42 --force --plot",
    "backup": "catalog backup --force",
}
SUFFIX = {"plot": ".png"}  # which it wants


def states(folder: Path) -> dict[str, str]:
    """Every file below a folder by its bytes; of a link where it leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if "catalog.sqlite-" in name:  # SQLite's, which come and go
            continue
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "a folder"
    return found


def writer(name: str, path: Path | str) -> list[str]:
    return [*WRITERS[name].split(), str(path)]


def places(registry: Path, here: Path, suffix: str) -> dict[str, str]:
    """Ways to name something of the registry's, or a place in it; `suffix` for a picture."""
    (here / f"link{suffix}").symlink_to(registry / "registry.json")
    (here / "linked").symlink_to(registry, target_is_directory=True)
    (here / "deep").symlink_to(registry / "objects", target_is_directory=True)
    own = ["registry.json", "catalog.sqlite", "tmp/x", "objects/x", "new", "events/x"]
    found = {f"absolute {name}": f"{registry}/{name}{suffix}" for name in own}
    found |= {f"relative {name}": f".dsvd/{name}{suffix}" for name in own}
    found |= {f"back {name}": f"no/../.dsvd/./{name}{suffix}" for name in own[:1]}
    (here / "no").mkdir()
    found["a link to a file"] = f"link{suffix}"
    found["through a link"] = f"linked/registry.json{suffix}"
    found["through a link within"] = f"deep/x{suffix}"
    return found


@pytest.mark.parametrize("command", WRITERS)
def test_the_registry_is_not_written_into(
    dsvd: Dsvd, filled: Path, here: Path, command: str
) -> None:
    suffix = SUFFIX.get(command, "")
    asked = places(filled, here, suffix)
    before = states(here)
    for way, path in asked.items():
        done = dsvd(*writer(command, path))
        assert done.code == 4, (way, done)
        assert "lies in the folder of the registry" in done.err, way
        assert "Traceback" not in done.err
        assert "outside" in done.err
        assert states(here) == before, way
    assert dsvd("verify").code == 0


def test_from_within_the_registry(
    dsvd: Dsvd, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(filled)
    before = states(filled)
    for words in ("materialize subject-42", "catalog backup catalog.sqlite --force"):
        done = dsvd(*words.split())
        assert (done.code, "the folder of the registry" in done.err) == (4, True)
    assert states(filled) == before
    assert dsvd("catalog", "backup").code == 0  # its own copy, where it belongs


def test_the_folder_that_the_registry_is_in(dsvd: Dsvd, here: Path, tmp_path: Path) -> None:
    """A folder of diffusers takes the place of one that is there, with all that is in it."""
    for name in ("base", "subject"):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "model_index.json").write_text("{}")
    weights = torch.randn(20, 20, generator=torch.Generator().manual_seed(1))
    file = "unet/diffusion_pytorch_model.safetensors"
    save_file({"w": weights}, tmp_path / "base" / file)
    save_file({"w": weights + 0.1}, tmp_path / "subject" / file)
    shutil.copytree(tmp_path / "base", here / "project")
    assert dsvd("init", here / "project" / ".dsvd").code == 0
    there = ("--registry", here / "project" / ".dsvd")
    assert dsvd(*there, "base", "add", "base", tmp_path / "base").code == 0
    assert dsvd(*there, "add", tmp_path / "subject", "--base=base").code == 0
    before = states(here)
    done = dsvd(*there, "materialize", "subject", "-o", "project", "--force")
    assert (done.code, "a folder that holds the folder of the registry" in done.err) == (4, True)
    assert states(here) == before
    for name in ("out.safetensors", "out.ckpt"):
        done = dsvd(*there, "materialize", "subject", "-o", name)
        assert (done.code, "would be a folder" in done.err) == (2, True)
        assert "Name it out. (--layout single-file writes one file.)" in done.err
    assert states(here) == before


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_linked_base_is_not_written_into(
    dsvd: Dsvd, filled: Path, here: Path, checkpoints: Path, kind: str
) -> None:
    """Here one that `subject-42` has nothing to do with."""
    numbers = torch.Generator().manual_seed(3)
    own = {"unet.weight": torch.randn(8, 8, generator=numbers)}
    place = here / "models" / "other.safetensors"
    place.parent.mkdir()
    paths = ["models/other.safetensors"]
    if kind == "folder":
        place = here / "models" / "other"
        (place / "unet").mkdir(parents=True)
        (place / "model_index.json").write_text("{}")
        save_file(own, place / "unet" / "diffusion_pytorch_model.safetensors")
        file = "models/other/unet/diffusion_pytorch_model.safetensors"
        paths = [file, "models/other/model_index.json", "models/other/new", "models/other"]
    else:
        save_file(own, place)
    (here / "link").symlink_to(place)
    assert dsvd("base", "add", "other", place, "--link").code == 0
    before = states(here)
    for path in (*paths, "link"):
        done = dsvd("materialize", "subject-42", "--force", "-o", path)
        assert (done.code, f"the {kind} of the base 'other'" in done.err) == (4, True), done
        assert states(here) == before, path
    assert dsvd("materialize", "subject-42", "-o", "models/new").code == 0  # beside it is free


def test_a_catalog_elsewhere(dsvd: Dsvd, here: Path, filled: Path) -> None:
    assert filled.exists()
    there = ("--registry", "reg", "--catalog", f"sqlite:///{here}/elsewhere.sqlite")
    assert dsvd(*there, "init").code == 0
    file = here / "base.safetensors"
    save_file({"w": torch.ones(3, 3)}, file)
    assert dsvd(*there, "base", "add", "b", file).code == 0
    before = states(here)
    done = dsvd(*there, "catalog", "backup", "elsewhere.sqlite", "--force")
    assert (done.code, "is the catalog of the registry" in done.err) == (4, True), done
    assert states(here) == before


@pytest.mark.parametrize(
    "words",
    [
        *WRITERS.values(),
        *(f"export subject-42 --format {form} -o" for form in FORMATS),
        *(f"materialize subject-42 {more} -o" for more in ("--tau=0.3", "--dtype=fp16", "--json")),
        "curve subject-42 --json --plot",
    ],
)
def test_standard_output(dsvd: Dsvd, filled: Path, here: Path, words: str) -> None:
    done = dsvd(*words.split(), "-")
    assert (done.code, done.out) == (2, "")
    assert "- does not end with .png" in done.err or "standard output" in done.err
    assert "Traceback" not in done.err
    assert [path.name for path in here.iterdir()] == [filled.name]


LIES = [
    ("materialize", "x.ckpt", "a pickle of torch", "x.safetensors"),
    ("materialize", "x.PT", "a pickle of torch", "x.safetensors"),
    ("materialize", "x.bin", "a pickle of torch", "x.safetensors"),
    ("materialize", "x.v1.pth", "a pickle of torch", "x.v1.safetensors"),
    ("materialize", "x.gguf", "a GGUF file", "x.safetensors"),
    ("materialize", "x.dsvd", "a .dsvd file", "x.safetensors"),
    ("lora", "x.pt", "a pickle of torch", "x.safetensors"),
    ("lora", "x.bin", "a pickle of torch", "x.safetensors"),
    ("container", "x.safetensors", "a safetensors file", "x.dsvd"),
    ("container", "x.ckpt", "a pickle of torch", "x.dsvd"),
    ("container", "x.dsvdr", "the residual of a .dsvd file", "x.dsvd"),
    ("container", "x.dsvdo", "the original of a .dsvd file", "x.dsvd"),
]


@pytest.mark.parametrize(("command", "name", "what", "hint"), LIES)
@pytest.mark.parametrize("is_there", [False, True])
def test_a_name_that_lies(
    dsvd: Dsvd,
    filled: Path,
    here: Path,
    command: str,
    name: str,
    what: str,
    hint: str,
    is_there: bool,
) -> None:
    assert filled.exists()
    if is_there:
        (here / name).write_text("mine")
    before = states(here)
    done = dsvd(*writer(command, name))
    assert (done.code, done.out) == (2, "")
    assert what in done.err
    assert f"Name it {hint}." in done.err
    assert states(here) == before


@pytest.mark.parametrize("name", ["x.safetensors", "x", "x.v1", "x.sft", "x.model"])
def test_other_names_are_one_s_own(dsvd: Dsvd, filled: Path, here: Path, name: str) -> None:
    assert filled.exists()
    assert dsvd("materialize", "subject-42", "-o", name).code == 0
    assert load_file(here / name)


@pytest.mark.parametrize("said", ["{}", '{"vocab_size": 62, "hidden_size": 8}'])
def test_a_vocabulary_is_said(dsvd: Dsvd, here: Path, said: str) -> None:
    """A single file of 60 tokens as a folder like one of 62."""
    table = "text_model.embeddings.token_embedding.weight"
    norm, prefix = "text_model.final_layer_norm.weight", "cond_stage_model.transformer."
    place = here / "base" / "text_encoder"
    place.mkdir(parents=True)
    (here / "base" / "model_index.json").write_text("{}")
    (place / "config.json").write_text(said)
    large = torch.randn(62, 8, generator=torch.Generator().manual_seed(1))
    save_file({table: large, norm: torch.ones(8)}, place / "model.safetensors")
    tuned = {prefix + table: large[:60].clone(), prefix + norm: torch.ones(8) + 0.1}
    save_file(tuned, here / "ft.safetensors")
    assert dsvd("init", "reg").code == 0
    there = ("--registry", "reg")
    assert dsvd(*there, "base", "add", "b", "base").code == 0
    assert dsvd(*there, "add", "ft.safetensors", "--base=b", "--tau=0.9").code == 0
    words = ("materialize", "ft", "--layout=diffusers", "-o")
    done = dsvd(*there, *words, "out")
    assert done.code == 0
    before = "has 62" if "62" in said else "does not set it"
    assert (
        "text_encoder/config.json: vocab_size is 60, as in the version; the folder of the layout "
        f"{before}\n"
    ) in done.out
    assert load_file(here / "out/text_encoder/model.safetensors")[table].shape == (60, 8)
    config = json.loads((here / "out/text_encoder/config.json").read_text())
    assert config == json.loads(said) | {"vocab_size": 60}
    (one,) = dsvd(*there, *words, "again", "--json").document["written"]["adjusted"]
    assert one == {
        "path": "text_encoder/config.json",
        "key": "vocab_size",
        "before": 62 if "62" in said else None,
        "after": 60,
    }
