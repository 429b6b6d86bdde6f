"""Detection of network filesystems, on which SQLite's locks are not reliable.

In WAL mode, all programs that have the file open also share memory, so they must run on one machine
(https://www.sqlite.org/wal.html, https://www.sqlite.org/useovernet.html).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import RegistryError
from .errors import NEEDS_URL

MOUNTS = Path("/proc/self/mountinfo")

# The filesystems for which systemd waits for the network, and the usual ones of FUSE (without "fuse.").
# 9p and virtiofs are not listed: containers and virtual machines use them for their own disks.
# fmt: off
_NETWORK = frozenset({
    "afs", "auristorfs", "beegfs", "ceph", "cifs", "coda", "curlftpfs", "davfs", "davfs2",
    "gcsfuse", "gfs", "gfs2", "glusterfs", "goofys", "gpfs", "gvfsd-fuse", "juicefs",
    "lustre", "ncp", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2",
    "rclone", "s3fs", "smb2", "smb3", "smbfs", "sshfs",
})
# fmt: on


def check_local(path: Path) -> None:
    """Raise `RegistryError` if the file `path`, existing or not, is on a network filesystem."""
    kind = network_filesystem(path)
    if kind is not None:
        raise RegistryError(
            f"{path} lies on a network filesystem ({kind}): SQLite cannot rely on its locks",
            NEEDS_URL,
        )


def network_filesystem(path: Path) -> str | None:
    """The type of the network filesystem of `path`; None for another filesystem.

    Only Linux gives this information. Elsewhere SQLite may still refuse the WAL mode.
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
        # The later of two mounts at one place hides the earlier.
        if len(place.parts) >= longest and real.is_relative_to(place):
            kind, longest = after.split(b" ")[0].decode("ascii", "replace"), len(place.parts)
    kind = kind.removeprefix("fuse.")
    return kind if kind in _NETWORK else None


def _unescaped(place: bytes) -> str:
    r"""Decode a mount point: the kernel writes blanks, tabs, line feeds and backslashes as \040."""
    plain = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8) & 255]), place)
    return plain.decode("utf-8", "surrogateescape")
