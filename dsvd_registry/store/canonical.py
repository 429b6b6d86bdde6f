"""Canonical JSON: one value has one byte string, so that its SHA-256 names it.

Keys are sorted, there is no white space, everything outside ASCII is escaped, NaN and the
infinities do not exist. Reading is strict: what would not be written that way is refused, and with
it duplicate keys, white space and odd spellings of numbers.
"""

from __future__ import annotations

import json

from ..errors import InvalidArgument, RegistryError

LIMIT = 16 << 20


def dump(value: object) -> bytes:
    """The canonical bytes of `value`. Raises `InvalidArgument` for what they cannot hold."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
        # A lone surrogate survives escaping, but is no text: databases refuse it later.
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"a value cannot be written as JSON: {error}") from error
    if len(text) > LIMIT:
        raise InvalidArgument(f"a value takes {len(text)} bytes of JSON, over the limit of {LIMIT}")
    return text.encode("ascii")


def parse(data: bytes, where: str) -> object:
    """The value of canonical bytes; `where` names them in errors. Raises `RegistryError`."""
    if len(data) > LIMIT:
        raise RegistryError(f"{where} has {len(data)} bytes, over the limit of {LIMIT}")
    try:
        value: object = json.loads(data.decode("ascii"))
        again = dump(value)
    except (ValueError, RecursionError, InvalidArgument) as error:
        raise RegistryError(f"{where} is not valid JSON: {error}") from error
    if again != data:
        raise RegistryError(f"{where} is not canonical JSON")
    return value
