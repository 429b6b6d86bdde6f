"""The description of a registry, `registry.json`, which makes a folder or a prefix one."""

from __future__ import annotations

from .. import canonical
from ..errors import RegistryError

FORMAT = "dsvd-registry"
VERSION = 2
KEY = "registry.json"
BYTES = canonical.encode_small({"format": FORMAT, "version": VERSION})
MOST_BYTES = canonical.MAX_SMALL + 1


def check(data: bytes, registry: str) -> None:
    """Check that `data` describes a registry that this program reads; `registry`: its path or URL.

    Raises `RegistryError`, by the number if another version of the program made it.
    """
    where = f"{registry}/{KEY}"
    value = canonical.decode_small(data, where)
    version = value.get("version") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("format") != FORMAT or type(version) is not int:
        raise RegistryError(f"{where} does not describe a registry", "Restore it from a copy.")
    if version > VERSION:
        raise RegistryError(
            f"{registry} was made by a newer version of dsvd-registry (registry format "
            f"{version}; this program knows up to {VERSION})",
            "Install a newer dsvd-registry.",
        )
    if version < VERSION:
        raise RegistryError(
            f"{registry} was made by a version of dsvd-registry before its first release (registry "
            f"format {version}; this program reads {VERSION})",
            "Add the checkpoints to a new registry.",
        )
    if data != BYTES:
        raise RegistryError(f"{where} does not describe a registry", "Restore it from a copy.")
