"""Mounts made, ended and killed, in the background and the foreground; where none can be made."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Mount, error_of


def test_mounted_in_the_background_and_ended(unmounted: Mount) -> None:
    done = unmounted.dsvd("mount", unmounted.folder, "--json")
    assert json.loads(done.stdout)["registry"] == str(unmounted.registry)
    assert unmounted.is_mounted()
    assert len(unmounted.servers()) == 1
    done = unmounted.dsvd("umount", unmounted.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert not unmounted.is_mounted()
    assert unmounted.servers() == []  # `umount` has waited for it
    assert unmounted.log == ""


def test_the_kernel_reads_in_large_parts_where_that_can_be_set(mounted: Mount) -> None:
    device = mounted.folder.stat().st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    others = 128  # for who is not root; the kernel allows a mount no more by itself
    assert int(setting.read_text()) == (1024 if os.access(setting, os.W_OK) else others)


def test_a_second_mount_on_the_folder_says_so(mounted: Mount) -> None:
    done = mounted.dsvd("mount", mounted.folder, "--json")
    error = error_of(done)
    assert (done.returncode, error["type"]) == (4, "Conflict")
    assert f"is a mount already, of {mounted.registry}" in error["message"]
    assert len(mounted.servers()) == 1


def test_what_a_killed_program_leaves_is_cleared(mounted: Mount) -> None:
    (number,) = mounted.servers()
    os.kill(number, signal.SIGKILL)
    while mounted.servers():
        pass
    with pytest.raises(OSError) as refused:  # aborted, while the program's connection is ending
        list(mounted.folder.iterdir())
    assert refused.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    error = error_of(mounted.dsvd("mount", mounted.folder, "--json"))
    assert "whose program was killed" in error["message"]
    assert f"dsvd umount {mounted.folder}" in error["hint"]
    done = mounted.dsvd("umount", mounted.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert not mounted.is_mounted()
    mounted.start()
    assert (mounted.checkpoints / "dog.safetensors").exists()


def test_a_mount_in_use_is_not_ended(mounted: Mount) -> None:
    with (mounted.checkpoints / "dog.safetensors").open("rb") as file:
        done = mounted.dsvd("umount", mounted.folder, "--json")
        assert (done.returncode, error_of(done)["type"]) == (4, "Conflict")
        assert "in use" in error_of(done)["message"]
        assert len(file.read()) > 0
    assert mounted.dsvd("umount", mounted.folder).returncode == 0


def test_in_the_foreground_until_it_is_unmounted(unmounted: Mount) -> None:
    process = unmounted.start_in_foreground()
    assert (unmounted.checkpoints / "dog.safetensors").exists()
    assert unmounted.dsvd("umount", unmounted.folder).returncode == 0
    assert process.wait(600) == 0
    assert not unmounted.is_mounted()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_until_it_is_interrupted(unmounted: Mount, number: int) -> None:
    process = unmounted.start_in_foreground()
    process.send_signal(number)
    assert process.wait(600) == 0
    assert not unmounted.is_mounted()


def test_an_interrupt_leaves_open_files_readable(unmounted: Mount) -> None:
    process = unmounted.start_in_foreground()
    path = unmounted.checkpoints / "exact.safetensors"
    with path.open("rb") as file:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "stay readable" in process.stderr.readline()
        assert not unmounted.is_mounted()
        assert len(file.read()) == os.fstat(file.fileno()).st_size
        assert process.poll() is None
    assert process.wait(600) == 0


@pytest.mark.parametrize(
    ("prepare", "kind", "says"),
    [
        (lambda folder: (folder / "x").touch(), "Conflict", "is not empty: it has x"),
        (lambda folder: folder.rmdir(), "NotFound", "there is no folder"),
        (lambda folder: (folder.rmdir(), folder.touch()), "InvalidArgument", "is not a folder"),
    ],
)
def test_what_cannot_be_mounted_on(unmounted: Mount, prepare, kind: str, says: str) -> None:
    prepare(unmounted.folder)
    for words in ([], ["--foreground"]):
        error = error_of(unmounted.dsvd("mount", unmounted.folder, "--json", *words))
        assert error["type"] == kind
        assert says in error["message"]
    assert unmounted.servers() == []


def test_what_cannot_be_unmounted(unmounted: Mount) -> None:
    done = unmounted.dsvd("umount", unmounted.folder, "--json")
    assert (done.returncode, error_of(done)["type"]) == (3, "NotFound")


def test_a_registry_that_is_gone_when_the_program_starts(unmounted: Mount) -> None:
    """An error of the program in the background is the command's, with its exit code."""
    (unmounted.registry / "catalog.sqlite").write_bytes(b"no database")
    done = unmounted.dsvd("mount", unmounted.folder, "--json")
    assert done.returncode == 8
    assert not unmounted.is_mounted()


def without_fuse(mount: Mount, hidden: str) -> subprocess.CompletedProcess[str]:
    """`dsvd mount` on a system without FUSE: its device hidden, or its program not to be found."""
    command = f"{sys.executable} -m dsvd_registry.cli mount {mount.folder} --json"
    if hidden == "device":
        command = f"mount --bind {mount.home} /dev && {command}"
        words = ["unshare", "--mount", "sh", "-c", command]
        path = os.environ["PATH"]
    else:
        words, path = command.split(), str(mount.home)
    return subprocess.run(
        words, env=mount.environment(PATH=path), capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize(
    ("hidden", "says", "hint"),
    [
        ("program", "this system has no fusermount3", "apt install fuse3"),
        ("device", "this system has no FUSE", "--device /dev/fuse"),
    ],
)
def test_a_system_without_fuse(unmounted: Mount, hidden: str, says: str, hint: str) -> None:
    done = without_fuse(unmounted, hidden)
    error = error_of(done)
    assert (done.returncode, error["type"]) == (2, "MissingExtra")
    assert says in error["message"]
    assert hint in error["hint"]


def test_a_folder_with_a_space_and_a_comma(unmounted: Mount, tmp_path: Path) -> None:
    """Names are written in octal in the system's table, and commas part the options of a mount."""
    moved = Mount(tmp_path / "a, registry", tmp_path / "a folder, \\ here", unmounted.home)
    shutil.copytree(unmounted.registry, moved.registry)
    moved.folder.mkdir()
    try:
        moved.start()
        assert (moved.checkpoints / "dog.safetensors").exists()
        error = error_of(moved.dsvd("mount", moved.folder, "--json"))
        assert f"of {moved.registry}" in error["message"]
    finally:
        assert moved.dsvd("umount", moved.folder).returncode == 0
    assert moved.servers() == []
