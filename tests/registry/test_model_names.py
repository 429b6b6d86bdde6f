"""Names of models made from file names: valid, each its own, and the same when added again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument
from dsvd_registry.registry import AddedMany, NamedFile
from dsvd_registry.registry.adding.model_names import (
    GENERIC,
    USUAL_NAMES,
    ascii_name,
    name_rule,
    unique_names,
)
from dsvd_registry.store.names import check_name, folded

from .conftest import Weights, write_pickle, write_safetensors

MADE = {
    "portrait v2 (final)": "portrait-v2-final",
    "Café [1.0]": "Cafe-1.0",
    "Cafe\u0301 2": "Cafe-2",
    "Größe_Straße": "Grosse_Strasse",
    "Жар-птица": "Zhar-ptitsa",
    "Ωμέγα": "Omega",
    "さくら": "sakura",
    "猫": "u732b",
    "한글": "hangeul",
    "it's mine": "its-mine",
    "a\u200bb\u202ec": "a-b-c",
    "🐶": "model",
    "...": "model",
    "con": "model-con",
    "ends.": "ends",
    "-x-": "x",
    "a--b__c..d": "a--b__c..d",
    "ft-1.5_x": "ft-1.5_x",
    "x" * 200: "x" * 100,
}


@pytest.mark.parametrize("text", MADE)
def test_what_names_become(text: str) -> None:
    assert ascii_name(text) == MADE[text]


@given(st.text(max_size=300))
def test_any_text_becomes_a_valid_name(text: str) -> None:
    assert check_name("model", ascii_name(text)) == ascii_name(ascii_name(text))


PATHS = st.lists(
    st.builds(
        lambda folder, stem, ending: Path("/runs") / folder / f"{stem}{ending}",
        st.sampled_from(["a", "b", "A", "é", "猫"]),
        st.sampled_from(["cat", "CAT", "c@t", "cat-2", "cat-a", "model", "猫", "x" * 120]),
        st.sampled_from([".safetensors", ".ckpt"]),
    ),
    unique=True,
    max_size=12,
)


@given(PATHS, st.sets(st.sampled_from(["cat", "Cat-2", "A", "other"]), max_size=3))
def test_no_two_are_alike(paths: list[Path], taken: set[str]) -> None:
    named = unique_names(paths, USUAL_NAMES, taken, lambda _: frozenset())
    assert [file.path for file in named] == paths
    models = [check_name("model", file.model) for file in named]
    assert len(set(map(folded, models))) == len(models)
    for model in models:  # a model that there is is meant in its own spelling
        assert all(model == name for name in taken if folded(name) == folded(model))


@given(PATHS, st.data())
def test_grown_they_keep_their_names(paths: list[Path], data: st.DataObject) -> None:
    """Whatever came first, and in whatever order the rest lies around it."""
    first = [path for path in paths if data.draw(st.booleans())]
    names = {f.path: f.model for f in unique_names(first, USUAL_NAMES, (), lambda _: frozenset())}

    def known(path: Path) -> frozenset[str]:
        return frozenset({names[path]} if path in names else ())

    grown = unique_names(paths, USUAL_NAMES, names.values(), known)
    assert {file.path: file.model for file in grown if file.path in names} == names


@pytest.mark.parametrize("name", sorted(GENERIC))
def test_generic_names_take_the_folders(name: str) -> None:
    for stem in (name, name.upper(), f"{name}.fp16"):
        assert USUAL_NAMES.raw_name(Path("/runs/subject 7") / f"{stem}.safetensors") == "subject 7"
    assert name_rule("stem").raw_name(Path("/runs/subject") / f"{name}.bin") == name


def test_patterns() -> None:
    path = Path("/runs/dog/step-500/model.safetensors")
    for asked, name in (
        ("parent", "step-500"),
        ("parent2", "dog"),
        ("{parent2}-{parent}", "dog-step-500"),
        ("x_{stem}", "x_model"),
        (None, "step-500"),
    ):
        assert name_rule(asked).raw_name(path) == name
    for wrong in ("dog", "", "{own}", "{stem", "{stem!r}", "{stem:>400}", "{}", "{0}", "{stem.x}"):
        with pytest.raises(InvalidArgument) as caught:
            name_rule(wrong)
        assert "{parent}-{stem}" in caught.value.hint


def tuned(seed: int) -> Weights:
    make = torch.Generator().manual_seed(seed)
    return {n: t + 1e-3 * torch.randn(t.shape, generator=make) for n, t in BASE.items()}


BASE = {"w": torch.randn(20, 16, generator=torch.Generator().manual_seed(1))}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        opened.add_base("base", write_safetensors(BASE, tmp_path / "b.safetensors"))
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my files"
    made.mkdir()
    return made


def refs(found: AddedMany) -> dict[str, str | None]:
    return {file.path.name: file.ref for file in found.files}


def test_a_folder_as_people_have_it(registry: Registry, folder: Path) -> None:
    """Seen to fail: names of spaces and other letters refused, twins stopped the whole folder."""
    names = ["portrait v2 (final)", "Café", "cafe", "CAFE", "猫"]
    for seed, name in enumerate(names):
        write_safetensors(tuned(seed), folder / f"{name}.safetensors")
    write_pickle(tuned(9), folder / "cafe.ckpt")
    shown: list[NamedFile] = []

    def planned(named: Sequence[NamedFile]) -> None:
        assert registry.versions() == []  # before anything is added
        shown.extend(named)

    found = registry.add_many([folder], base="base", planned=planned)
    assert (len(found.added), found.exit_code) == (6, 0)
    models = [str(file.ref).partition("@")[0] for file in found.files]
    assert [(file.path, file.model) for file in shown] == [
        (file.path, model) for file, model in zip(found.files, models, strict=True)
    ]
    assert sorted(map(folded, models)) == [
        "cafe",
        "cafe-2",
        "cafe-3",
        "cafe-4",
        *sorted(["portrait-v2-final", "u732b"]),
    ]
    own = {file.path.name: file.own_name for file in found.files}
    assert own["Café.safetensors"] == "Café"
    assert sum(name is None for name in own.values()) == 1  # one of the twins is called as it is
    again = registry.add_many([folder], base="base")
    assert (refs(again), len(again.there)) == (refs(found), 6)
    for seed, name in enumerate(["Aaa", "CaFe", "cafe 1", "z"], start=20):
        write_safetensors(tuned(seed), folder / f"{name}.safetensors")
    grown = registry.add_many([folder], base="base")
    assert {name: ref for name, ref in refs(grown).items() if name in refs(found)} == refs(found)
    assert len(grown.added) == 4
    (folder / "cafe.safetensors").unlink()
    (folder / "CAFE.safetensors").unlink()
    fewer = registry.add_many([folder], base="base")
    assert {**refs(grown), **refs(fewer)} == refs(grown) and not fewer.added


def test_files_that_are_all_called_alike(registry: Registry, folder: Path) -> None:
    """Seen to fail: versions of one model."""
    paths = []
    for seed, run in enumerate(["dog", "cat", "old/dog"]):
        (folder / run).mkdir(parents=True)
        paths.append(
            write_safetensors(tuned(seed), folder / run / "pytorch_lora_weights.safetensors")
        )
    found = registry.add_many(paths, base="base")
    assert [file.ref for file in found.files] == ["dog@1", "cat@1", "dog-old@1"]
    assert [file.ref for file in registry.add_many(reversed(paths), base="base").files] == [
        file.ref for file in reversed(found.files)
    ]
    by = registry.add_many(paths, base="base", name_from="{parent2}-{parent}", tau=0.9)
    assert [file.ref for file in by.files] == ["my-files-dog@1", "my-files-cat@1", "old-dog@1"]


def test_one_file_alone(registry: Registry, folder: Path) -> None:
    path = write_safetensors(tuned(1), folder / "Größe (2).safetensors")
    first = registry.add(path, base="base")
    assert (first.ref, registry.add(path, base="base").created) == ("Grosse-2@1", False)
    generic = write_safetensors(tuned(2), folder / "model.safetensors")
    assert registry.add(generic, base="base").ref == "my-files@1"
    assert registry.add(generic, base="base", name_from="stem").ref == "model@1"
    other = write_safetensors(tuned(3), folder / "GROSSE-2.safetensors")
    assert registry.add(other, base="base").ref == "GROSSE-2-2@1"
    assert registry.add(other, base="base").ref == "GROSSE-2-2@1"
    with pytest.raises(InvalidArgument, match="both a name and name_from are given"):
        registry.add(other, base="base", name="x", name_from="stem")
    os.chdir(folder)
    assert registry.add("model.safetensors", base="base").ref == "my-files@1"
