"""`dsvd add --lossless` and `dsvd thin`, and what is told of lossless versions."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from .conftest import Dsvd, base_weights
from .test_cli_terminal import on_terminal

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def source(here: Path, filled: Path, checkpoints: Path) -> Path:
    """A fine-tune with a name of its own, and a registry that has the base."""
    shutil.copy(checkpoints / "ft.safetensors", here / "cat.safetensors")
    return here / "cat.safetensors"


@pytest.fixture
def lossless(dsvd: Dsvd, source: Path) -> Path:
    """`cat@1`, lossless."""
    assert dsvd("add", source, "--base=sd15", "--lossless").code == 0
    return source


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_add(dsvd: Dsvd, source: Path, here: Path) -> None:
    added = dsvd("add", source, "--base=sd15", "--lossless")
    assert (added.code, added.err) == (0, "")
    first, second = added.out.splitlines()[:2]
    assert first == "added cat@1"
    assert re.match(r"lossless: \S+ \S+ in all \(1/\S+\), \S+ \S+ of it the residual", second)
    again = dsvd("add", source, "--base=sd15", "--lossless")
    assert again.out.splitlines()[0].startswith("cat@1 was there already: the same file")
    written = dsvd("materialize", "cat")
    assert (written.code, (here / "cat.safetensors").read_bytes()) == (4, source.read_bytes())
    written = dsvd("materialize", "cat", "-o", "out")
    assert written.out.splitlines()[0].startswith("wrote out: cat@1 lossless, ")
    assert written.out.splitlines()[1] == f"SHA-256 {digest(source)} (as recorded)"
    assert (here / "out").read_bytes() == source.read_bytes()
    tau = dsvd("show", "cat", "--json").document["summary"]["tau"]
    lossy = dsvd("materialize", "cat", "-o", "lossy", "--tau", str(tau))
    assert lossy.out.splitlines()[0].startswith(f"wrote lossy: cat@1 at tau {tau:g}, ")
    assert (here / "lossy").read_bytes() != source.read_bytes()


def test_a_fidelity_besides(dsvd: Dsvd, source: Path) -> None:
    """Fixes what the container alone gives."""
    dsvd("add", source, "--base=sd15", "--name=lossy", "--tau=0.3")
    dsvd("add", source, "--base=sd15", "--name=both", "--tau=0.3", "--lossless")
    lossy, both = (dsvd("show", name, "--json").document for name in ("lossy", "both"))
    assert lossy["container"] == both["container"]
    assert (lossy["tau"], both["tau"], lossy["residual"]) == (0.3, 0.3, None)
    for option in ("--max-error=0.2", "--budget=1MB"):
        added = dsvd("add", source, "--base=sd15", f"--name=n{len(option)}", option, "--lossless")
        assert added.code == 0 and "\nlossless: " in added.out


def test_an_upgrade(dsvd: Dsvd, filled: Path, checkpoints: Path) -> None:
    words = ("add", checkpoints / "ft.safetensors", "--base=sd15", "--name=subject-42")
    upgraded = dsvd(*words, "--lossless")
    assert (upgraded.code, upgraded.err) == (0, "")
    first, second = upgraded.out.splitlines()[:2]
    assert first == "subject-42@1 was there already, and is lossless now"
    assert second.startswith("lossless: ")
    again = dsvd(*words, "--lossless", "--json").document
    assert (again["created"], again["upgraded"]) == (False, False)


def test_json(dsvd: Dsvd, source: Path) -> None:
    document = dsvd("add", source, "--base=sd15", "--lossless", "--json").document
    assert (document["created"], document["upgraded"]) == (True, False)
    assert document["residual"].keys() == {"sha256", "size"}
    assert document["source"]["sha256"] == digest(source)
    assert document["lossless"] is True  # what was asked: ranks for the least in all
    assert document["report"]["total"] == len(document["report"]["tensors"])
    shown = dsvd("show", "cat", "--json").document
    assert shown["residual"] == document["residual"]
    (listed,) = (v for v in dsvd("ls", "--json").document if v["ref"] == "cat@1")
    assert listed["residual"] == document["residual"]
    written = dsvd("materialize", "cat", "-o", "out", "--json").document["written"]
    assert (written["lossless"], written["recorded"]) == (True, True)
    assert written["sha256"] == digest(source)
    thinned = dsvd("thin", "cat", "--yes", "--json")
    assert (thinned.document["ref"], thinned.document["residual"]) == ("cat@1", None)
    assert thinned.document["freed_bytes"] == document["residual"]["size"]
    assert "warning: " in thinned.err


def test_show_and_ls(dsvd: Dsvd, lossless: Path) -> None:
    """Digests as model sites show them."""
    lines = dsvd("show", "cat").out.splitlines()
    fields = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines[:10] if line}
    sha256 = digest(lossless)
    assert fields["source"].endswith(f"SHA-256 {sha256}")
    assert fields["AutoV2"] == sha256[:10].upper()
    assert re.fullmatch(r"\S+ \S+ in all \(1/\S+\), \S+ \S+ of it the residual", fields["lossless"])
    assert "lossless" not in {
        line.split()[0] for line in dsvd("show", "subject-42").out.splitlines() if line
    }
    header, *rows = dsvd("ls").out.splitlines()
    (row,) = (row for row in rows if row.startswith("cat@1"))
    at = header.index("fidelity")
    assert row[at:].startswith("lossless")
    assert " 0 " in row or " 0% " in row or "0.000" in row
    whole = dsvd("show", "cat", "--json").document
    total = whole["size"] + whole["residual"]["size"]
    (model,) = (m for m in dsvd("du", "--json").document["models"] if m["name"] == "cat")
    assert model["bytes"] == total


def test_du_and_gc_after_thin(dsvd: Dsvd, lossless: Path) -> None:
    residual = dsvd("show", "cat", "--json").document["residual"]["size"]
    before = dsvd("du", "--json").document
    thinned = dsvd("thin", "cat", "--yes")
    assert thinned.code == 0
    assert thinned.out.startswith("cat@1 is lossy now; `dsvd gc` frees ")
    after = dsvd("du", "--json").document
    assert after["reclaimable"] - before["reclaimable"] == residual
    assert dsvd("gc", "--grace=0").code == 0
    assert dsvd("du", "--json").document["total"] == before["total"] - residual
    assert dsvd("verify", "--all", "--deep").code == 0
    again = dsvd("thin", "cat", "--yes")
    assert again.code == 3 and again.err.startswith("error: ")
    back = dsvd("add", lossless, "--base=sd15", "--lossless")
    assert back.out.startswith("cat@1 was there already, and is lossless now\n")


def test_thin_warns_and_asks(dsvd: Dsvd, lossless: Path, here: Path) -> None:
    """Without a terminal nothing is done; on one a no leaves it, a yes drops it."""
    refused = dsvd("thin", "cat")
    assert refused.code == 2
    assert f"SHA-256 {digest(lossless)}" in refused.err and "--yes" in refused.err
    assert "warning: cat@1 " in refused.err and "to the bit" in refused.err
    code, said = on_terminal("thin", "cat", cwd=here, question="Drop the residual", answer="n\n")
    assert (code, "nothing was dropped" in said) == (0, True)
    assert dsvd("show", "cat", "--json").document["residual"] is not None
    code, said = on_terminal("thin", "cat", cwd=here, question="Drop the residual", answer="y\n")
    assert (code, "cat@1 is lossy now" in said) == (0, True)
    assert dsvd("show", "cat", "--json").document["residual"] is None


@pytest.mark.parametrize("lose", ["missing", "damaged"])
def test_a_residual_that_cannot_be_read(
    dsvd: Dsvd, lossless: Path, filled: Path, here: Path, lose: str
) -> None:
    """Exit code 8; the command that the hint has, works."""
    sha256 = dsvd("show", "cat", "--json").document["residual"]["sha256"]
    path = filled / "objects" / sha256[:2] / sha256
    if lose == "missing":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    failed = dsvd("materialize", "cat", "-o", "out")
    assert failed.code == 8 and not (here / "out").exists()
    assert f"the residual of cat@1, object {sha256}, is {lose}" in failed.err
    command = re.search(r"`dsvd (materialize cat@1 --tau \S+)`", failed.err)
    assert command is not None
    assert dsvd(*command[1].split(), "-o", "out").code == 0
    found = dsvd("verify", "--all")
    assert found.code == 1 and "cat@1" in found.out + found.err
    assert dsvd("materialize", "cat", "-o", "other", "--json").error["exit_code"] == 8
    assert dsvd("add", lossless, "--base=sd15", "--lossless").code == 0
    assert dsvd("materialize", "cat", "-o", "whole").code == 0
    assert (here / "whole").read_bytes() == lossless.read_bytes()


def test_many(dsvd: Dsvd, filled: Path, checkpoints: Path, here: Path) -> None:
    """Safe to delete is what comes back to the byte: of a .ckpt its tensors alone do."""
    files = here / "files"
    files.mkdir()
    shutil.copy(checkpoints / "ft.safetensors", files / "cat.safetensors")
    shutil.copy(checkpoints / "other.ckpt", files / "dog.ckpt")
    (files / "text.safetensors").write_text("text")
    lossy = dsvd("add", "files", "--base=sd15")
    assert "originals that are safe to delete: none (" in lossy.out
    assert "--lossless" in lossy.out.splitlines()[-1]
    found = dsvd("add", "files", "--base=sd15", "--lossless")
    assert found.code == 5
    lines = found.out.splitlines()
    assert lines[1].startswith("made lossless  cat@1") and lines[2].startswith(
        "made lossless  dog@1"
    )
    assert lines[-3] == "3 files: 0 added, 0 already there, 2 made lossless, 1 refused"
    assert lines[-1] == "originals that are safe to delete: files/cat.safetensors"
    document = dsvd("add", "files", "--base=sd15", "--lossless", "--json").document
    assert document["safe_to_delete"] == ["files/cat.safetensors"]
    assert (document["added"], document["there"], document["upgraded"]) == (0, 2, 0)
    given_back = [file["given_back"] for file in document["files"]]
    assert given_back == [True, False, False]


def test_a_lora_file(dsvd: Dsvd, source: Path, here: Path) -> None:
    """Its own bytes are kept beside what it is merged into."""
    factors = {
        "mid_block.attn.to_k.lora_A.weight": torch.ones(1, 48),
        "mid_block.attn.to_k.lora_B.weight": torch.ones(32, 1),
    }
    save_file(factors, here / "lora.safetensors", {"trigger": "dog"})
    size = (here / "lora.safetensors").stat().st_size
    added = dsvd("add", "lora.safetensors", "--base=sd15", "--lossless")
    assert added.code == 0
    assert re.match(r"lossless: .* of it the LoRA file itself; ", added.out.splitlines()[1])
    shown = dsvd("show", "lora", "--json").document
    assert shown["original"] == {"sha256": digest(here / "lora.safetensors"), "size": size}
    assert "of it the LoRA file itself" in dsvd("show", "lora").out
    assert re.search(r"^lora@1 .* lossless ", dsvd("ls").out, re.MULTILINE)
    many = dsvd("add", "lora.safetensors", source, "--base=sd15", "--lossless", "--json").document
    assert many["safe_to_delete"] == ["lora.safetensors", str(source)]
    exported = dsvd("export", "lora", "--format=dsvd", "-o", "x.dsvd")
    assert "wrote x.dsvdo: the file that was added" in exported.out
    assert digest(here / "x.dsvdo") == digest(here / "lora.safetensors")
    thinned = dsvd("thin", "lora", "--yes")
    assert "Without its LoRA file its relative error is" in thinned.err
    assert dsvd("show", "lora", "--json").document["original"] is None


def test_export_and_import(dsvd: Dsvd, lossless: Path, checkpoints: Path, here: Path) -> None:
    there = ("--registry", str(here / "elsewhere"))
    assert dsvd(*there, "init").code == 0
    assert dsvd(*there, "base", "add", "base", checkpoints / "base.safetensors").code == 0
    done = dsvd("export", "cat", "--format=dsvd", "-o", "travels.dsvd", "--json").document
    assert done["written"]["residual"] == "travels.dsvdr"
    assert "travels.dsvdr" in dsvd("export", "cat", "--format=dsvd", "-o", "x.dsvd").out.replace(
        "x.dsvdr", "travels.dsvdr"
    )
    assert dsvd("export", "cat", "--format=dsvd", "-o", "travels.dsvd").code == 4
    came = dsvd(*there, "import", "travels.dsvd")
    assert came.code == 0 and "\nlossless: " in came.out
    assert dsvd(*there, "materialize", "travels", "-o", "out").code == 0
    assert (here / "out").read_bytes() == lossless.read_bytes()
    data = (here / "travels.dsvdr").read_bytes()
    (here / "travels.dsvdr").write_bytes(data[:-1])
    refused = dsvd(*there, "import", "travels.dsvd", "--name=other")
    assert refused.code == 6 and "travels.dsvdr" in refused.err
    assert "lossy version" in refused.err
    (here / "travels.dsvdr").unlink()
    assert dsvd(*there, "import", "travels.dsvd", "--name=other").code == 0


def test_base_weights_are_left(dsvd: Dsvd, lossless: Path) -> None:
    """A base is needed by a lossless version as by any other."""
    assert base_weights()
    refused = dsvd("base", "rm", "sd15")
    assert refused.code == 4


def test_the_docs_tell() -> None:
    text = "".join(page.read_text() for page in DOCS.glob("*.md"))
    assert "--lossless" in text
    assert "dsvd thin" in text
    assert ".dsvdr" in text
