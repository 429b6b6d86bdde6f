"""Mistakes of users: each gives one clear sentence and its exit code, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from safetensors.torch import save_file

from dsvd_registry.cli.errors import BROKEN_PIPE, INTERRUPTED, failure_of
from dsvd_registry.errors import BUG_EXIT_CODE

from .conftest import Dsvd, fine_tuned
from .program import PROGRAM, Outcome, run


def told(outcome: Outcome, code: int, *words: str) -> None:
    """Check that the command failed with `code`, in one sentence and a hint with these `words`."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    for word in words:
        assert word in outcome.err


def files(folder: Path) -> dict[str, int]:
    """The files in a folder, without the catalog's journal."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("catalog.sqlite")
    }


@pytest.fixture(autouse=True)
def _nothing_left_behind(here: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    assert not [path for path in here.rglob("*") if path.name.startswith(".dsvd-tmp-")]


@pytest.fixture
def bad(here: Path, filled: Path, checkpoints: Path) -> Path:
    """A folder of files that are no checkpoints, or not of this base."""
    whole = (checkpoints / "ft.safetensors").read_bytes()
    (here / "text.safetensors").write_text("this is not a checkpoint, whatever its name says")
    (here / "empty.ckpt").write_bytes(b"")
    (here / "cut.safetensors").write_bytes(whole[:-100])
    (here / "cut.ckpt").write_bytes((checkpoints / "other.ckpt").read_bytes()[:-1000])
    (here / "header.safetensors").write_bytes(b"\xff" * 8 + b"{" + whole[9:])
    (here / "folder.ckpt").mkdir()
    (here / "directory").mkdir()
    save_file({"unrelated.weight": torch.ones(3, 3)}, here / "stranger.safetensors")
    shutil.copy(checkpoints / "ft.safetensors", here / "ft.safetensors")
    shutil.copy(checkpoints / "ft.safetensors", here / "con.safetensors")
    return here


@pytest.mark.parametrize(
    ("words", "code", "told_words"),
    [
        ("add text.safetensors --base sd15", 5, ["text.safetensors is not a checkpoint"]),
        ("add empty.ckpt --base sd15", 5, ["empty.ckpt"]),
        ("add cut.safetensors --base sd15", 5, ["cut.safetensors"]),
        ("add cut.ckpt --base sd15", 5, ["cut.ckpt"]),
        ("add header.safetensors --base sd15", 5, ["header.safetensors"]),
        ("add folder.ckpt --base sd15", 5, ["folder.ckpt is a folder"]),
        ("add nowhere.ckpt --base sd15", 9, ["nowhere.ckpt", "No such file"]),
        ("add stranger.safetensors --base sd15", 7, ["shares no tensor", "unrelated.weight"]),
        ("add ft.safetensors --base sd51", 3, ["sd51", "Did you mean sd15?"]),
        ("add stranger.safetensors", 7, ["fine-tune of no base here", "sd15 (0 %", "--base"]),
        ("add --base sd15", 2, ["no file is given"]),
        ("add ft.safetensors con.safetensors --base sd51", 3, ["sd51"]),
        ("add ft.safetensors con.safetensors --base sd15 --name x", 2, ["--name"]),
        ("add ft.safetensors con.safetensors --base sd15 --tau 0", 2, ["tau 0.0"]),
        ("add --from ft.safetensors --base sd15", 2, ["is not a list of paths"]),
        ("add --from nowhere.txt --base sd15", 9, ["nowhere.txt"]),
        ("import text.safetensors", 6, ["text.safetensors is not a .dsvd container"]),
        ("import nowhere.dsvd", 9, ["nowhere.dsvd", "No such file"]),
        ("import con.safetensors", 6, ["con.safetensors is not a .dsvd container"]),
        ("import con.safetensors --name con", 2, ["con"]),
        ("add ft.safetensors --base sd15 --tau 0", 2, ["tau 0.0", "(0, 1]"]),
        ("add ft.safetensors --base sd15 --tau nan", 2, ["tau nan"]),
        ("add ft.safetensors --base sd15 --tau much", 2, ["--tau", "much"]),
        ("add ft.safetensors --base sd15 --grid-noise -1", 2, ["grid noise"]),
        ("add ft.safetensors --base sd15 --name ../up", 2, ["../up"]),
        ("add con.safetensors --base sd15 --name con", 2, ["con"]),
        ("base add sd15 ft.safetensors", 4, ["sd15"]),
        ("base add sd21 text.safetensors", 5, ["text.safetensors"]),
        ("base add a/b ft.safetensors", 2, ["a/b"]),
        ("base show sd51", 3, ["Did you mean sd15?"]),
        ("base rm nothing", 3, ["nothing"]),
        ("show subjct-42", 3, ["Did you mean subject-42?"]),
        ("show subject-42@7", 3, ["subject-42@7", "1-2"]),
        ("show subject-42@", 2, ["subject-42@"]),
        ("log subject", 3, ["subject"]),
        ("ls --base nothing", 3, ["nothing"]),
        ("diff subject-42@1", 2, ["--base"]),
        ("diff subject-42@1 subject-42@2 --base", 2, ["--base"]),
        ("diff subject-42@1 subject-42@9", 3, ["subject-42@9"]),
        ("materialize nobody", 3, ["nobody"]),
        ("materialize subject-42@1 -o ft.safetensors", 4, ["ft.safetensors", "--force"]),
        (
            "materialize subject-42@1 -o no/where.safetensors",
            9,
            ["no folder no"],
        ),
        ("materialize subject-42@1 -o text.safetensors/x", 9, ["text.safetensors"]),
        ("materialize subject-42@1 -o /proc/x.safetensors", 9, ["/proc"]),
        ("materialize subject-42@1 -o folder.ckpt --force", 2, ["Name it folder.safetensors"]),
        ("materialize subject-42@1 -o directory --force", 2, ["directory", "not a plain file"]),
        ("materialize subject-42@1 --tau 0.9", 10, ["0.9"]),
        ("materialize subject-42@1 --tau 0", 2, ["tau"]),
        ("alias set prod nobody", 3, ["nobody"]),
        ("alias set 7 subject-42", 2, ["'7'"]),
        ("tag add subject-42 /", 2, ["'/'"]),
        ("rm subject-42@9 --yes", 3, ["subject-42@9"]),
        ("frobnicate", 2, ["frobnicate"]),
        ("lst", 2, ["Did you mean"]),
        ("ls --frobnicate", 2, ["--frobnicate"]),
        ("--registry nowhere ls", 3, ["nowhere", "dsvd init"]),
        ("--registry ft.safetensors ls", 3, ["ft.safetensors"]),
        ("init folder.ckpt/..", 4, ["is not empty"]),
        ("init ft.safetensors", 9, ["ft.safetensors"]),
    ],
)
def test_bad_words_and_files(
    dsvd: Dsvd, bad: Path, words: str, code: int, told_words: list[str]
) -> None:
    before = files(bad)
    told(dsvd(*words.split()), code, *told_words)
    as_json = dsvd(*words.split(), "--json")
    assert as_json.out == ""
    error = as_json.error
    assert error.keys() == {"type", "message", "hint", "exit_code"}
    assert error["exit_code"] == as_json.code == code
    assert files(bad) == before


def test_no_registry(dsvd: Dsvd, here: Path) -> None:
    told(dsvd("ls"), 3, "no registry was found", "dsvd init")
    told(dsvd("base", "add", "sd15", "x"), 3, "dsvd init")


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(
    dsvd: Dsvd, filled: Path, here: Path, zipped: bool
) -> None:
    canary = here / "canary"
    content = {"state_dict": fine_tuned(1), "callbacks": Malicious(canary)}
    torch.save(content, here / "evil.ckpt", _use_new_zipfile_serialization=zipped)
    added = dsvd("add", "evil.ckpt", "--base", "sd15")
    assert added.code == 0
    assert f"left out of the source (1):\n  {os.system.__module__}.system: " in added.out
    assert dsvd("verify", "evil", "--deep").code == 0
    (here / "bare.ckpt").write_bytes(pickle.dumps(Malicious(canary)))
    told(dsvd("add", "bare.ckpt", "--base", "sd15"), 5, "bare.ckpt")
    assert not canary.exists()


def container(dsvd: Dsvd, filled: Path, ref: str) -> Path:
    digest = dsvd("show", ref, "--json").document["container"]
    (path,) = (path for path in filled.rglob("*") if path.is_file() and digest in path.name)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("place", [0, 20, 200, -200, -1])
def test_a_flipped_bit_is_found(dsvd: Dsvd, filled: Path, here: Path, place: int) -> None:
    path = container(dsvd, filled, "subject-42@1")
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    found = dsvd("verify")
    assert found.code == 1
    assert "dsvd verify --all --repair" in found.err and found.err.startswith("hint: ")
    *findings, last = found.out.splitlines()
    assert findings
    assert all(line.startswith("subject-42@1: ") for line in findings)
    assert last == f"2 versions, 1 base: {len(findings)} finding" + "s" * (len(findings) > 1)
    document = dsvd("verify", "subject-42@1", "--json")
    assert document.code == 1
    assert document.document["is_well"] is False
    assert document.document["findings"][0]["subjects"] == ["subject-42@1"]
    assert dsvd("verify", "subject-42@2").code == 0
    told(dsvd("materialize", "subject-42@1"), 6, str(path))
    assert not (here / "subject-42.safetensors").exists()


@pytest.mark.parametrize("kept", [0, 10, 0.5, -1])
def test_a_cut_container_is_found(dsvd: Dsvd, filled: Path, kept: float) -> None:
    path = container(dsvd, filled, "subject-42@1")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    assert dsvd("verify").code == 1
    told(dsvd("show", "subject-42@1"), 6, str(path))


def test_a_missing_object_is_found(dsvd: Dsvd, filled: Path) -> None:
    container(dsvd, filled, "subject-42@1").unlink()
    assert dsvd("verify").code == 1
    failed = dsvd("materialize", "subject-42@1")
    assert failed.code != 0
    told(failed, failed.code)


def test_a_changed_linked_base_is_refused(dsvd: Dsvd, here: Path, checkpoints: Path) -> None:
    dsvd("init", ".dsvd")
    shutil.copy(checkpoints / "base.safetensors", here / "linked.safetensors")
    dsvd("base", "add", "b", "linked.safetensors", "--link")
    dsvd("add", checkpoints / "ft.safetensors", "--base", "b")
    data = bytearray((here / "linked.safetensors").read_bytes())
    data[-10] ^= 1
    (here / "linked.safetensors").write_bytes(data)
    found = dsvd("verify")
    assert found.code == 1
    assert "base b, ft@1: " in found.out
    told(dsvd("materialize", "ft"), 7, "linked.safetensors")
    (here / "linked.safetensors").unlink()
    told(dsvd("materialize", "ft"), 7, "which is gone")


def test_a_newer_registry_is_refused(dsvd: Dsvd, filled: Path) -> None:
    description = filled / "registry.json"
    description.write_text(description.read_text().replace('"version":2', '"version":99'))
    told(dsvd("ls"), 8, "newer version", "Install a newer dsvd-registry")


def test_a_newer_catalog_is_refused(dsvd: Dsvd, filled: Path) -> None:
    with sqlite3.connect(filled / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE alembic_version SET version_num = '9999'")
    catalog.close()
    told(dsvd("ls"), 8, "newer")


def test_a_file_name_that_is_no_text(dsvd: Dsvd, filled: Path, here: Path) -> None:
    name = os.fsdecode(b"caf\xe9.ckpt")
    (here / name).write_text("nothing")
    told(dsvd("add", name, "--base", "sd15"), 5, "caf\\udce9.ckpt is not a checkpoint")
    told(dsvd("add", name, "--base", "sd15", "--name", "x"), 5, "caf\\udce9.ckpt")
    told(dsvd("note", "subject-42", os.fsdecode(b"\xff")), 2)


def test_what_the_program_does_not_expect_is_called_a_bug() -> None:
    failure = failure_of(ValueError("odd"))
    assert failure.exit_code == BUG_EXIT_CODE
    assert failure.message == "this is a bug in dsvd: ValueError: odd"
    assert "DSVD_DEBUG=1" in failure.hint
    assert failure_of(RecursionError("deep")).exit_code == BUG_EXIT_CODE


def test_what_the_machine_does() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there")
    assert (failure_of(full).exit_code, failure_of(full).message) == (
        9,
        "/there: No space left on device",
    )
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(1 << 60)
    for error in (MemoryError(), too_large.value):
        assert failure_of(error).message == "out of memory"
        assert failure_of(error).exit_code == 9
    assert failure_of(BrokenPipeError()).exit_code == BROKEN_PIPE
    assert failure_of(KeyboardInterrupt()).exit_code == INTERRUPTED
    assert failure_of(click.Abort()).exit_code == INTERRUPTED


def test_in_a_process_of_its_own(bad: Path) -> None:
    failed = run(*PROGRAM, "add", "text.safetensors", "--base", "sd15", cwd=bad)
    told(failed, 5)
    failed = run(*PROGRAM, "show", "nobody", "--json", cwd=bad)
    assert failed.code == json.loads(failed.err)["error"]["exit_code"] == 3
