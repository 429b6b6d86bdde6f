"""Canonical JSON: one value has one byte string, so that its SHA-256 names it.

Keys are sorted, there is no white space, everything outside ASCII is escaped; NaN, the infinities and
half a surrogate pair do not exist. Source: spec/dsvd-container-v1.md, section "Canonical JSON".

A text of 16 MiB may become several hundred MB of Python objects, so each is weighed before it is
parsed: `MAX_WEIGHT` keeps those under 64 MiB.
"""

from __future__ import annotations

import json
from typing import Any

MAX_WEIGHT = 1 << 24
WEIGHT_OF_A_VALUE = 64
COMPARED = 1 << 16  # bytes of a text that are compared at once


class NotCanonical(ValueError):
    """A value that has no canonical JSON, or bytes that are not it; the message completes "is"."""


def weight(data: bytes) -> int:
    """What JSON takes in memory once it is parsed, in a rough unit that is found without parsing.

    Its bytes, fourfold if it holds a character outside ASCII, escaped or not (one makes all of its
    string as wide), and 64 for each `[`, `{` and `,`: those that stand in strings are few.
    """
    wide = not data.isascii() or b"\\u" in data
    values = sum(data.count(mark) for mark in (b"[", b"{", b","))
    return len(data) * (4 if wide else 1) + WEIGHT_OF_A_VALUE * values


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises `NotCanonical` for what they cannot hold."""
    data = _text(value).encode()
    _check_weight(data)
    return data


def decode(data: bytes, *, weighed: bool = False) -> Any:
    """The value of canonical bytes. Raises `NotCanonical` for any others.

    Writing the value again must give the same bytes: that alone refuses repeated keys, white
    space, NaN, over-long numbers and every other second spelling. `weighed`: the caller has.
    """
    if not weighed:
        _check_weight(data)
    try:
        value = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from error
    text = _text(value)
    pieces = range(0, max(len(data), len(text)), COMPARED)
    # In pieces, as another copy of a long text would take its size in memory.
    if any(text[i : i + COMPARED].encode() != data[i : i + COMPARED] for i in pieces):
        raise NotCanonical("not canonical JSON")
    return value


def _text(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
        if "\\ud" in text:  # a lone surrogate survives escaping, but is no text
            json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from error
    return text


def _check_weight(data: bytes) -> None:
    if weight(data) > MAX_WEIGHT:
        raise NotCanonical(f"too much JSON: it weighs {weight(data)}, more than {MAX_WEIGHT}")
