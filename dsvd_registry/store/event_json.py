"""Canonical JSON of small objects, with a limit of size."""

from __future__ import annotations

from .. import canonical
from ..errors import InvalidArgument, RegistryError

LIMIT = 16 << 20

_RESTORE = "Restore it from a copy of the registry."


def dump(value: object) -> bytes:
    """The canonical JSON of `value`. Raises `InvalidArgument` for a value without one."""
    try:
        data = canonical.encode(value)
    except canonical.NotCanonical as error:
        raise InvalidArgument(f"a value is {error}") from error
    if len(data) > LIMIT:
        raise InvalidArgument(f"a value takes {len(data)} bytes of JSON, over the limit of {LIMIT}")
    return data


def parse(data: bytes, where: str) -> object:
    """The value of canonical bytes; `where` names them in errors. Raises `RegistryError`."""
    if len(data) > LIMIT:
        raise RegistryError(f"{where} has {len(data)} bytes, over the limit of {LIMIT}", _RESTORE)
    try:
        value: object = canonical.decode(data)
    except canonical.NotCanonical as error:
        raise RegistryError(f"{where} is {error}", _RESTORE) from error
    return value
