"""The system's mounts: which there are, ours made and taken away, by the program `fusermount3`."""

from __future__ import annotations

import array
import contextlib
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import Conflict, InvalidArgument, MissingExtra, NotFound, StorageError
from .messages import LARGEST_READ

KIND = "fuse.dsvd"
_TABLE = Path("/proc/self/mountinfo")
_DEVICE = Path("/dev/fuse")
_PROGRAM = "fusermount3"
_READ_AHEAD = "/sys/class/bdi/{}/read_ahead_kb"
_DESCRIPTOR_VARIABLE = "_FUSE_COMMFD"  # by which `fusermount3` knows where to send the descriptor


@dataclass(frozen=True)
class MountPoint:
    """A mount in the system's table: its folder, the kind of its filesystem, what is mounted.

    `device`: its number, by which the kernel lists its settings.
    """

    folder: Path
    kind: str
    source: str
    device: str

    @property
    def is_ours(self) -> bool:
        """True if a registry is mounted."""
        return self.kind == KIND

    @property
    def is_alive(self) -> bool:
        """False if the program that served it is gone."""
        try:
            os.statvfs(self.folder)
        except OSError:
            return False
        return True


def mount_at(folder: Path) -> MountPoint | None:
    """The mount at a folder, the last one of several; None without one.

    Raises `MissingExtra` where the system has no table of mounts.
    """
    return _listed_at(os.path.realpath(folder))


def _listed_at(place: str) -> MountPoint | None:
    """The mount at a real path; no file of the mount itself is asked for."""
    try:
        lines = _TABLE.read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        raise MissingExtra(
            "registries are mounted on Linux only",
            "Elsewhere, `dsvd materialize` and `Registry.path` give files.",
        ) from None
    found = None
    for line in lines:
        words = line.split(" ")
        last = words.index("-")  # optional fields end here
        if _unescaped(words[4]) == place:
            kind, source = words[last + 1 : last + 3]
            found = MountPoint(Path(place), kind, _unescaped(source), words[2])
    return found


def check_place(folder: Path) -> Path:
    """The real path of a folder that a registry can be mounted on.

    Raises `Conflict` if something is mounted there or the folder is not empty, `NotFound` if it is
    missing, `InvalidArgument` for a path that is no folder, `StorageError`.
    """
    there = mount_at(folder)
    if there is not None and there.is_ours:
        if there.is_alive:
            raise Conflict(
                f"{folder} is a mount already, of {there.source}",
                f"Use it, or end it with `dsvd umount {folder}`.",
            )
        raise Conflict(
            f"{folder} is a mount whose program was killed",
            f"Clear it with `dsvd umount {folder}`, then mount again.",
        )
    if there is not None:
        raise Conflict(f"{folder} has something else mounted on it", "Give an empty folder.")
    try:
        entries = os.listdir(folder)  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        raise NotFound(f"there is no folder {folder}", f"Make it: `mkdir -p {folder}`.") from None
    except NotADirectoryError:
        raise InvalidArgument(f"{folder} is not a folder", "Give an empty folder.") from None
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}", "Give a folder of your own.") from error
    if entries:
        raise Conflict(
            f"{folder} is not empty: it has {entries[0]}",
            "Give an empty folder, such as a new one.",
        )
    return Path(os.path.realpath(folder))


def check_fuse() -> str:
    """The path of the program that mounts. Raises `MissingExtra` where FUSE is not there."""
    if not _DEVICE.exists():
        raise MissingExtra(
            f"this system has no FUSE: there is no {_DEVICE}",
            "Load its module with `modprobe fuse`; a container needs `--device /dev/fuse --cap-add "
            "SYS_ADMIN` when it is started.",
        )
    program = shutil.which(_PROGRAM)
    if program is None:
        raise MissingExtra(
            f"this system has no {_PROGRAM}",
            "Install FUSE 3: `apt install fuse3`, `dnf install fuse3` or `pacman -S fuse3`.",
        )
    return program


def make_mount(folder: Path, source: str) -> int:
    """Mount at `folder`, and return the descriptor by which the kernel asks for files.

    Raises `MissingExtra` where FUSE is not there, `StorageError` if the system refuses.
    """
    program = check_fuse()
    options = ",".join(
        (
            "ro",
            "nosuid",
            "nodev",
            "default_permissions",
            "subtype=dsvd",
            f"fsname={_escaped(source)}",
        )
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = subprocess.run(
            [program, "-o", options, "--", folder],
            env={**os.environ, _DESCRIPTOR_VARIABLE: str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            raise StorageError(
                f"{folder} cannot be mounted on: {_said(done)}",
                "A container needs `--device /dev/fuse --cap-add SYS_ADMIN` when it is started.",
            )
        _, rights, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize))
    ((_, _, data),) = rights
    (descriptor,) = array.array("i", data)
    return int(descriptor)


def set_read_ahead(folder: Path) -> None:
    """Have the kernel read the files of a mount in large parts, if this user is root.

    For others it reads 128 KiB at a time, whatever the mount asks for. `folder`: a real path. The mount
    may not answer yet: only the system's table is read.
    """
    there = _listed_at(str(folder))
    if there is None:
        return
    with contextlib.suppress(OSError):
        setting = os.open(_READ_AHEAD.format(there.device), os.O_WRONLY)
        try:
            os.write(setting, b"%d" % (LARGEST_READ >> 10))
        finally:
            os.close(setting)


def remove_mount(folder: Path, *, lazy: bool = False) -> None:
    """Take the mount at `folder` away. `lazy`: also while files of it are open, which stay so.

    Raises `Conflict` if files are open, `MissingExtra`, `StorageError`.
    """
    done = subprocess.run(
        [check_fuse(), "-uz" if lazy else "-u", "--", folder],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return
    if "busy" in done.stderr.lower():
        raise Conflict(
            f"{folder} is in use: a program has a file of it open, or works in one of its folders",
            f"Close that program (`fuser -vm {folder}` names it), then run this again.",
        )
    raise StorageError(
        f"{folder} cannot be unmounted: {_said(done)}", "Only its owner can do that."
    )


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().removeprefix(f"{_PROGRAM}: ") or f"exit code {done.returncode}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,")


def _unescaped(text: str) -> str:
    """A field of the table, in which white space and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
