"""Containers that no writer makes: the header changed, every digest right again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spec.header_bytes import encode
from spec.sealing import frames_of, header_of, payload_of, sealed, unzstd, zstd

HeaderJson = dict[str, Any]


def rewritten(path: Path, change: Callable[[HeaderJson], object]) -> bytes:
    """The container at `path` with a changed header and the same payload."""
    file = path.read_bytes()
    header = header_of(file)
    change(header)
    return sealed(encode(header), payload_of(file))


def refilled(path: Path, change: Callable[[HeaderJson, list[bytes]], object]) -> bytes:
    """The container at `path` with changed contents of its frames, and digests that agree."""
    file = path.read_bytes()
    header, frames = header_of(file), [unzstd(frame) for frame in frames_of(file)]
    change(header, frames)
    payload = b""
    for entry, content in zip(header["frames"], frames, strict=True):
        stored = zstd(content)
        digest = hashlib.sha256(stored).hexdigest()
        entry |= {"raw": len(content), "stored": len(stored), "sha256": digest}
        payload += stored
    return sealed(encode(header), payload)
