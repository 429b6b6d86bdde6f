"""Canonical JSON: each value has exactly one byte string, so a SHA-256 identifies the value.

Keys are sorted, there is no white space, and every character outside ASCII is escaped. NaN, the
infinities and lone surrogates are refused. Source: spec/dsvd-store-v2.md, section "Canonical
JSON".

A text of 16 MiB can become several hundred MB of Python objects. Its weight is therefore estimated
before it is parsed; `MAX_WEIGHT` keeps the objects under 64 MiB.
"""

from __future__ import annotations

import json
from typing import Any

from .errors import InvalidArgument, RegistryError

MAX_WEIGHT = 1 << 24
MAX_SMALL = 16 << 20  # bytes of an event, a manifest, a setting
WEIGHT_OF_A_VALUE = 64
COMPARED = 1 << 16  # bytes of a text that are compared at a time

_RESTORE = "Restore it from a copy of the registry."


class NotCanonical(ValueError):
    """A value without canonical JSON, or bytes that are not canonical JSON.

    The message completes a sentence that ends in "is".
    """


def weight(data: bytes) -> int:
    """Estimate the memory that JSON takes once it is parsed, without parsing it.

    The estimate is the number of bytes, plus 64 for each `[`, `{` and `,` (few of them are inside
    strings). The bytes count fourfold if any character, escaped or not, is outside ASCII: a single
    one makes Python store its whole string with wider characters.
    """
    return weight_of(len(data), values_in(data), is_wide(data))


def weight_of(size: int, values: int, wide: bool) -> int:
    """The weight of JSON of this size with this many values; `wide` is as in `is_wide`."""
    return size * (4 if wide else 1) + WEIGHT_OF_A_VALUE * values


def values_in(data: bytes) -> int:
    """The number of values that JSON has at most."""
    return data.count(b"[") + data.count(b"{") + data.count(b",")


def is_wide(data: bytes) -> bool:
    """True if a character, escaped or not, may be outside ASCII."""
    return not data.isascii() or b"\\u" in data


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises `NotCanonical` for what JSON cannot express."""
    data = _text(value).encode()
    if weight(data) > MAX_WEIGHT:
        raise _too_heavy(data)
    return data


def decode(data: bytes, *, weighed: bool = False) -> Any:
    """The value of canonical bytes. Raises `NotCanonical` for any other bytes.

    The value is encoded again and must give the same bytes. This one test refuses repeated keys,
    white space, NaN, over-long numbers and every other second spelling.

    `weighed`: the caller has checked the weight already.
    """
    if not weighed and weight(data) > MAX_WEIGHT:
        raise _too_heavy(data)
    try:
        value = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from error
    text = _text(value)
    pieces = range(0, max(len(data), len(text)), COMPARED)
    # Compared in pieces: encoding a long text at once would double its memory.
    if any(text[i : i + COMPARED].encode() != data[i : i + COMPARED] for i in pieces):
        raise NotCanonical("not canonical JSON")
    return value


def _text(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
        if "\\ud" in text:  # a lone surrogate survives escaping, but is not text
            json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from error
    return text


def _too_heavy(data: bytes) -> NotCanonical:
    return NotCanonical(f"too much JSON: it weighs {weight(data)}, more than {MAX_WEIGHT}")


def encode_small(value: object) -> bytes:
    """The canonical JSON of a small object. Raises `InvalidArgument` for a value without one."""
    try:
        data = encode(value)
    except NotCanonical as error:
        raise InvalidArgument(f"a value is {error}") from error
    if len(data) > MAX_SMALL:
        raise InvalidArgument(
            f"a value takes {len(data)} bytes of JSON, over the limit of {MAX_SMALL}"
        )
    return data


def decode_small(data: bytes, where: str) -> object:
    """The small object of canonical bytes; `where` names them in errors. Raises `RegistryError`."""
    if len(data) > MAX_SMALL:
        raise RegistryError(
            f"{where} has {len(data)} bytes, over the limit of {MAX_SMALL}", _RESTORE
        )
    try:
        value: object = decode(data)
    except NotCanonical as error:
        raise RegistryError(f"{where} is {error}", _RESTORE) from error
    return value
