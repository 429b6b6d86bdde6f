"""Whether a folder lies on another machine's disk: SQLite's locks cannot be relied on there.

SQLite in WAL mode also needs memory that all programs share which have the file open: those of one
machine (https://www.sqlite.org/wal.html, https://www.sqlite.org/useovernet.html).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import RegistryError
from .errors import NEEDS_URL

MOUNTS = Path("/proc/self/mountinfo")

# Those that systemd waits for the network for, and the usual ones through FUSE ("fuse." before it).
# 9p and virtiofs are no part of it: containers and virtual machines have them for their own disks.
# fmt: off
_NETWORK = frozenset({
    "afs", "auristorfs", "beegfs", "ceph", "cifs", "coda", "curlftpfs", "davfs", "davfs2",
    "gcsfuse", "gfs", "gfs2", "glusterfs", "goofys", "gpfs", "gvfsd-fuse", "juicefs",
    "lustre", "ncp", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2",
    "rclone", "s3fs", "smb2", "smb3", "smbfs", "sshfs",
})
# fmt: on


def check_local(path: Path) -> None:
    """Raises `RegistryError` where the file `path`, which need not be there, is seen to be remote."""
    kind = network_filesystem(path)
    if kind is not None:
        raise RegistryError(
            f"{path} lies on a network filesystem ({kind}): SQLite cannot rely on its locks",
            NEEDS_URL,
        )


def network_filesystem(path: Path) -> str | None:
    """The type of the network filesystem that `path` lies on, None for another.

    Only Linux tells. Elsewhere, what is left to go by is whether SQLite takes the WAL mode.
    """
    try:
        mounts = MOUNTS.read_bytes()
        real = path.resolve()
    except (OSError, RuntimeError):
        return None
    kind, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if len(fields) < 5 or not after:
            continue
        place = Path(_unescaped(fields[4]))
        # Of two at one place, the later hides the earlier.
        if len(place.parts) >= longest and real.is_relative_to(place):
            kind, longest = after.split(b" ")[0].decode("ascii", "replace"), len(place.parts)
    kind = kind.removeprefix("fuse.")
    return kind if kind in _NETWORK else None


def _unescaped(place: bytes) -> str:
    r"""The kernel writes blanks, tabs, line feeds and backslashes as octal: \040."""
    plain = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8) & 255]), place)
    return plain.decode("utf-8", "surrogateescape")
