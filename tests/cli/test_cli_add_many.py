"""`dsvd add` of a folder, of several files and of a list."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsvd_registry import Registry
from dsvd_registry.cli.errors import INTERRUPTED

from .conftest import Dsvd, base_weights, fine_tuned
from .program import PROGRAM, environment, run
from .test_cli_terminal import on_terminal

PATIENCE = 100.0  # seconds, which only a program that hangs takes
MANY = 100  # which take several batches' time, each of 2 seconds


@pytest.fixture
def files(here: Path, filled: Path, checkpoints: Path) -> Path:
    """A folder with two fine-tunes and a text; the registry has the base `sd15`."""
    folder = here / "files"
    folder.mkdir()
    shutil.copy(checkpoints / "ft.safetensors", folder / "cat.safetensors")
    shutil.copy(checkpoints / "other.ckpt", folder / "dog.ckpt")
    (folder / "text.safetensors").write_text("text")
    return Path("files")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that there is time to stop it on the way."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(MANY):
        save_file(fine_tuned(100 + number), folder / f"ft-{number:02}.safetensors")
    return folder


def test_the_summary(dsvd: Dsvd, files: Path) -> None:
    added = dsvd("add", files, "--base", "sd15")
    lines = added.out.splitlines()
    assert added.code == 5  # of what was refused first
    assert lines[0].split() == ["outcome", "version", "base", "before", "after", "file"]
    assert lines[1].split()[:3] == ["added", "cat@1", "sd15"]
    assert lines[1].endswith(" kB  files/cat.safetensors")
    assert lines[2].split()[:3] == ["added", "dog@1", "sd15"]
    assert lines[3].split() == ["refused", "files/text.safetensors"]
    start = lines.index("refused (1):")
    assert lines[start + 1].startswith("  files/text.safetensors is not a checkpoint: ")
    assert lines[start + 2].startswith("    hint: ")
    assert lines[-3] == "3 files: 2 added, 0 already there, 1 refused"
    assert " before, " in lines[-2]
    assert " after (1/" in lines[-2]
    assert lines[-1].startswith("originals that are safe to delete: none (")
    again = dsvd("add", files, "--base", "sd15")
    assert (again.code, again.out.splitlines()[-3]) == (
        5,
        "3 files: 0 added, 2 already there, 1 refused",
    )
    assert again.out.splitlines()[1].startswith("already there  cat@1")


def test_all_is_well(dsvd: Dsvd, files: Path) -> None:
    (files / "text.safetensors").unlink()
    added = dsvd("add", files, "--base", "sd15")
    assert (added.code, added.err) == (0, "")
    assert "3 files" not in added.out
    assert "refused (" not in added.out
    assert "2 files: 2 added, 0 already there, 0 refused\n" in added.out


def test_as_json(dsvd: Dsvd, files: Path) -> None:
    added = dsvd("add", files, "--base", "sd15", "--json")
    document = added.document
    assert added.code == document["exit_code"] == 5
    assert [file["outcome"] for file in document["files"]] == ["added", "added", "refused"]
    assert (document["added"], document["there"], document["refused"]) == (2, 0, 1)
    assert document["safe_to_delete"] == document["repeats"] == document["not_reached"] == []
    cat, _, text = document["files"]
    assert cat["ref"] == "cat@1"
    assert cat["source_bytes"] == (files / "cat.safetensors").stat().st_size
    assert cat["refusal"] is None
    assert text["refusal"]["type"] == "CheckpointError"
    assert text["path"] == "files/text.safetensors"
    assert document["source_bytes"] == sum(file["source_bytes"] for file in document["files"])
    shown = dsvd("show", "cat", "--json").document
    assert cat["container"] == shown["container"]


def test_several_files_and_a_glob(dsvd: Dsvd, here: Path, files: Path) -> None:
    two = dsvd("add", files / "cat.safetensors", files / "dog.ckpt", "--base", "sd15")
    assert two.code == 0
    command = f'"{PROGRAM[0]}" -m dsvd_registry.cli add files/* --base sd15'
    globbed = run("sh", "-c", command, cwd=here)
    assert globbed.code == 5
    assert "3 files: 0 added, 2 already there, 1 refused" in globbed.out
    nothing = run("sh", "-c", command.replace("files/*", "nowhere/*"), cwd=here)
    assert nothing.code == 9
    assert "nowhere/*: No such file or directory" in nothing.err


def test_one_file_twice(dsvd: Dsvd, files: Path) -> None:
    (files / "alias.safetensors").symlink_to("cat.safetensors")
    twice = dsvd("add", files / "cat.safetensors", files, "--base", "sd15")
    assert "3 files: 2 added, 0 already there, 1 refused" in twice.out
    assert "given by two paths, and taken once (1):" in twice.out
    assert "  files/alias.safetensors: the same file as files/cat.safetensors" in twice.out


def test_a_list(dsvd: Dsvd, here: Path, files: Path) -> None:
    shutil.copy(files / "dog.ckpt", files / "dog 2.ckpt")
    text = "\ufeff\r\nfiles/cat.safetensors\r\n\n  \nfiles/dog.ckpt\nfiles/dog 2.ckpt"
    (here / "list.txt").write_text(text, newline="")
    listed = dsvd("add", "--from", "list.txt", "--base", "sd15", "--json")
    paths = [file["path"] for file in listed.document["files"]]
    assert paths == ["files/cat.safetensors", "files/dog.ckpt", "files/dog 2.ckpt"]
    assert [file["outcome"] for file in listed.document["files"]] == ["added"] * 3
    assert [file["ref"] for file in listed.document["files"]] == ["cat@1", "dog@1", "dog-2@1"]
    assert [file["own_name"] for file in listed.document["files"]] == [None, None, "dog 2"]
    assert "dog-2: files/dog 2.ckpt" in listed.err
    piped = subprocess.run(
        (*PROGRAM, "add", "--from", "-", "--base", "sd15"),
        cwd=here,
        env=environment(),
        input="files/dog.ckpt\nfiles/cat.safetensors\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert piped.returncode == 0, piped.stderr
    assert "2 files: 0 added, 2 already there, 0 refused" in piped.stdout
    (here / "empty.txt").write_text("\n")
    empty = dsvd("add", "--from", "empty.txt", "--base", "sd15")
    assert (empty.code, "no file is given" in empty.err) == (2, True)


def test_what_is_refused_before_anything(dsvd: Dsvd, here: Path, files: Path) -> None:
    named = dsvd("add", files, "--base", "sd15", "--name", "x")
    assert (named.code, "--name is for a single file" in named.err) == (2, True)
    (here / "one.txt").write_text("files/cat.safetensors\n")
    assert dsvd("add", "--from", "one.txt", "--base", "sd15", "--name", "x").code == 2
    (here / "empty").mkdir()
    empty = dsvd("add", "empty", "--base", "sd15")
    assert (empty.code, empty.out) == (5, "")
    assert "empty is a folder that contains no checkpoint" in empty.err
    as_json = dsvd("add", files, "--base", "sd15", "--name-from", "dog", "--json")
    assert (as_json.out, as_json.error["exit_code"]) == ("", 2)
    assert "{parent}-{stem}" in as_json.error["hint"]
    assert len(dsvd("ls", "--json").document) == 2


def test_names_are_shown_before_and_in_the_summary(dsvd: Dsvd, here: Path, files: Path) -> None:
    """Seen to fail: two of one stem stopped the whole folder."""
    shutil.copy(files / "dog.ckpt", files / "cat.ckpt")
    (files / "text.safetensors").unlink()
    added = dsvd("add", files, "--base", "sd15")
    assert added.code == 0
    assert added.err.startswith("models with other names than their files (1 of 3):\n")
    assert "  cat-2: files/cat.safetensors\n" in added.err
    assert [line.split()[1] for line in added.out.splitlines()[1:4]] == [
        "cat@1",
        "cat-2@1",
        "dog@1",
    ]
    by = dsvd("add", files, "--base", "sd15", "--name-from", "{parent}.{stem}", "--json")
    assert [file["ref"] for file in by.document["files"]] == [
        *("files.cat@1", "files.cat-2@1", "files.dog@1"),
    ]
    one = dsvd("add", files / "dog.ckpt", "--base", "sd15", "--name-from", "parent", "--json")
    assert one.document["ref"] == "files@1"
    both = dsvd("add", files / "dog.ckpt", "--name-from", "parent", "--name", "x")
    assert both.code == 2


def test_weights_of_an_entry(dsvd: Dsvd, here: Path, filled: Path) -> None:
    torch.save({"model": fine_tuned(1), "ema": fine_tuned(2)}, here / "both.ckpt")
    several = dsvd("add", "both.ckpt", "--base", "sd15")
    assert (several.code, "--weights ema" in several.err) == (5, True)
    added = dsvd("add", "both.ckpt", "--weights", "ema", "--json").document
    assert (added["ref"], added["weights"], added["created"]) == ("both@1", "ema", True)
    assert not dsvd("add", "both.ckpt", "--weights", "ema", "--json").document["created"]
    base = dsvd("base", "add", "trained", "both.ckpt", "--weights", "model", "--json").document
    assert base["format"] == "safetensors"


def test_warnings_name_their_file(dsvd: Dsvd, files: Path) -> None:
    wrong = {name: -tensor for name, tensor in base_weights().items()}
    save_file(wrong, files / "wrong.safetensors")
    added = dsvd("add", files, "--base", "sd15")
    for said in (added.out, added.err):
        assert "warning: files/wrong.safetensors: the delta is 200% as large" in said


def test_help_tells_the_exit_code(dsvd: Dsvd) -> None:
    said = " ".join(dsvd("add", "--help").out.split())
    assert "The exit code is 0 if no file was refused, otherwise that of the first refusal." in said
    assert "The same command after an interrupt continues the work." in said


def test_a_terminal_gets_bars(here: Path, files: Path) -> None:
    code, said = on_terminal("add", str(files), "--base", "sd15", cwd=here)
    assert code == 5
    assert "files " in said
    assert "encoding" in said
    assert "3 files: 2 added" in said


@contextmanager
def stopped(number: int, many: Path, here: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`dsvd add` of a folder, which gets the signal `number` once its first batch is there."""
    events = here / ".dsvd" / "events"
    before = len(list(events.rglob("*.json")))
    with subprocess.Popen(
        (*PROGRAM, "add", str(many), "--base", "sd15", *words),
        cwd=here,
        env=environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while len(list(events.rglob("*.json"))) == before:
            assert process.poll() is None, "it ended before its first batch was committed"
            time.sleep(0.01)
        os.kill(process.pid, number)
        yield process


def there(here: Path) -> list[str]:
    with Registry.open(here / ".dsvd") as registry:
        return sorted(version.ref for version in registry.versions("ft-*"))


def test_killed_and_run_again(dsvd: Dsvd, here: Path, filled: Path, many: Path) -> None:
    with stopped(signal.SIGKILL, many, here) as process:
        assert process.wait(PATIENCE) == -signal.SIGKILL
    left = there(here)
    assert 0 < len(left) < MANY
    assert left == [f"ft-{number:02}@1" for number in range(len(left))]
    assert dsvd("verify", "--all", "--deep").code == 0
    again = dsvd("add", many, "--base", "sd15")
    assert again.code == 0
    assert (
        f"{MANY} files: {MANY - len(left)} added, {len(left)} already there, 0 refused" in again.out
    )
    assert there(here) == [f"ft-{number:02}@1" for number in range(MANY)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(here: Path, filled: Path, many: Path, number: int) -> None:
    with stopped(number, many, here) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == INTERRUPTED
    assert err == "error: interrupted\n"
    left = there(here)
    told = [line.split()[1] for line in out.splitlines() if line.startswith("added")]
    assert left == told  # what was prepared is committed before the program ends
    assert 0 < len(told) < MANY
    rest = MANY - len(told)
    assert f"not reached ({rest}):" in out
    assert f"{MANY} files: {len(told)} added, 0 already there, 0 refused, {rest} not reached" in out
    assert not list((here / ".dsvd" / "tmp").iterdir())


def test_interrupted_as_json(here: Path, filled: Path, many: Path) -> None:
    with stopped(signal.SIGINT, many, here, "--json") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == INTERRUPTED
    document = json.loads(out)
    assert document["exit_code"] == json.loads(err)["error"]["exit_code"] == INTERRUPTED
    assert document["added"] + len(document["not_reached"]) == MANY
