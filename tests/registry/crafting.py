"""Containers that no writer makes: the header changed, every checksum right again."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash
import zstandard

HeaderJson = dict[str, Any]
MAGIC = bytes.fromhex("8944535644 0d0a1a".replace(" ", ""))


def parts_of(path: Path) -> tuple[HeaderJson, bytes]:
    """Header and payload of a valid container."""
    data = path.read_bytes()
    stored, size = struct.unpack_from("<II", data, 12)
    text = zstandard.ZstdDecompressor().decompress(data[32 : 32 + stored], max_output_size=size)
    header: HeaderJson = json.loads(text)
    return header, data[32 + stored :]


def frames_of(header: HeaderJson, payload: bytes) -> list[bytes]:
    """The decompressed frames."""
    frames, position = [], 0
    for frame in header["frames"]:
        stored = payload[position : position + frame["stored"]]
        frames.append(zstandard.ZstdDecompressor().decompress(stored, max_output_size=frame["raw"]))
        position += frame["stored"]
    return frames


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def container(text: bytes, payload: bytes, *, json_size: int | None = None) -> bytes:
    """A container with this header text, whatever it says, and a right checksum."""
    stored = zstandard.ZstdCompressor().compress(text)
    size = len(text) if json_size is None else json_size
    start = MAGIC + struct.pack("<HHIII", 1, 0, len(stored), size, 0)
    checksum = xxhash.xxh3_64_intdigest(start + stored)
    return start + struct.pack("<Q", checksum) + stored + payload


def rewritten(path: Path, change: Callable[[HeaderJson], object]) -> bytes:
    """The container at `path` with a changed header and the same payload."""
    header, payload = parts_of(path)
    change(header)
    return container(canonical(header), payload)


def refilled(path: Path, change: Callable[[HeaderJson, list[bytes]], object]) -> bytes:
    """The container at `path` with changed contents of its frames, and checksums that agree."""
    header, payload = parts_of(path)
    frames = frames_of(header, payload)
    change(header, frames)
    payload = b""
    for entry, content in zip(header["frames"], frames, strict=True):
        stored = zstandard.ZstdCompressor().compress(content)
        entry |= {
            "raw": len(content),
            "stored": len(stored),
            "xxh3": xxhash.xxh3_64_hexdigest(stored),
        }
        payload += stored
    header["payload_sha256"] = hashlib.sha256(payload).hexdigest()
    return container(canonical(header), payload)
