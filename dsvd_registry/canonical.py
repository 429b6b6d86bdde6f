"""Canonical JSON: one value has one byte string, so that its SHA-256 names it.

Keys are sorted, there is no white space, everything outside ASCII is escaped; NaN, the infinities and
half a surrogate pair do not exist. Source: spec/dsvd-container-v1.md, section "Canonical JSON".
"""

from __future__ import annotations

import json
from typing import Any


class NotCanonical(ValueError):
    """A value that has no canonical JSON, or bytes that are not it; the message completes "is"."""


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises `NotCanonical` for what they cannot hold."""
    try:
        # A lone surrogate survives escaping, but is no text.
        json.dumps(value, ensure_ascii=False).encode()
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from error


def decode(data: bytes) -> Any:
    """The value of canonical bytes. Raises `NotCanonical` for any others.

    Writing the value again must give the same bytes: that alone refuses repeated keys, white
    space, NaN, over-long numbers and every other second spelling.
    """
    try:
        value = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from error
    if encode(value) != data:
        raise NotCanonical("not canonical JSON")
    return value
