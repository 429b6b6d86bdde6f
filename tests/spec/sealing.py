"""Containers that no writer makes: one thing changed, every checksum right again.

The recorded result is made to fit the changed header too (its digest stands in the result's
metadata), so that a reader which overlooks the change has nothing else to stumble on.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import zstandard

from . import exact
from .building import Built, plain_values, tree_results
from .exact import Json
from .header_bytes import encode

MAGIC = b"\x89DSVD\r\n\x1a"


def zstd(data: bytes, level: int = 3, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(level=level, **options).compress(data)


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def header_bytes_of(file: bytes) -> bytes:
    """The bytes of the header."""
    (stored,) = struct.unpack_from("<I", file, 12)
    return unzstd(file[56 : 56 + stored])


def header_of(file: bytes) -> Json:
    """The header as plain values."""
    return plain_values(header_bytes_of(file))


def payload_of(file: bytes) -> bytes:
    (stored,) = struct.unpack_from("<I", file, 12)
    return file[56 + stored :]


def frames_of(file: bytes) -> list[bytes]:
    """The zstd frames of the payload."""
    payload, frames = payload_of(file), []
    for entry in header_of(file)["frames"]:
        frames.append(payload[: entry["stored"]])
        payload = payload[entry["stored"] :]
    return frames


def prologue(stored: bytes, size: int, /, magic: bytes = MAGIC, **fields: int) -> bytes:
    """`fields`: version, stored, zero, digest where they are to be other than right."""
    start = magic + struct.pack(
        "<IIII",
        fields.get("version", 1),
        fields.get("stored", len(stored)),
        size,
        fields.get("zero", 0),
    )
    digest = hashlib.sha256(start + stored).digest()
    return start + bytes([digest[0] ^ fields.get("digest", 0)]) + digest[1:]


def sealed(header: bytes, payload: bytes, magic: bytes = MAGIC, **fields: int) -> bytes:
    """A container (or what `magic` says) with this header, whatever it says."""
    stored = zstd(header, 19)
    return prologue(stored, len(header), magic, **fields) + stored + payload


def with_header(built: Built, change: Callable[[Json], object], *, refit: bool = True) -> bytes:
    """Another header over the same payload."""
    header = header_of(built.file)
    change(header)
    if refit:
        _refit(built, header, built.source_headers)
    return sealed(encode(header), payload_of(built.file))


def with_frames(built: Built, change: Callable[[Json, list[bytes]], object]) -> bytes:
    """Other contents of the frames. `change` takes the header and what the frames hold."""
    header = header_of(built.file)
    contents = [unzstd(frame) for frame in frames_of(built.file)]
    change(header, contents)
    return _filled(built, header, [zstd(content) for content in contents], contents)


def with_zstd(built: Built, number: int, change: Callable[[bytes], bytes]) -> bytes:
    """Another spelling of one frame: `change` takes what it holds, and gives a zstd frame."""
    frames = frames_of(built.file)
    contents = [unzstd(frame) for frame in frames]
    frames[number] = change(contents[number])
    return _filled(built, header_of(built.file), frames, contents)


def _filled(built: Built, header: Json, frames: list[bytes], contents: list[bytes]) -> bytes:
    for entry, frame, content in zip(header["frames"], frames, contents, strict=True):
        entry["raw"], entry["stored"] = len(content), len(frame)
        entry["sha256"] = hashlib.sha256(frame).hexdigest()
    payload = b"".join(frames)
    filled = zip(header["frames"], contents, strict=True)
    _refit(built, header, [held for entry, held in filled if entry["content"] == "source_header"])
    return sealed(encode(header), payload)


def _refit(built: Built, header: Json, source_headers: Sequence[bytes]) -> None:
    """The recorded results of a changed header, if there can be any at all.

    `source_headers`: those of a tree.
    """
    data = built.data_at(built.tau)
    assert data is not None
    try:
        if built.source_headers:
            made = tree_results(header, data, header["encoding"]["tau"] / 10**6, source_headers)
            for result in header["results"]:
                file = made[result["path"]]
                result["sha256"], result["size"] = hashlib.sha256(file).hexdigest(), len(file)
            return
        tau = header["encoding"]["tau"] / 10**6
        file = exact.result_file(header, data, tau, built.source_header)
        result = header["results"][0]
        result["sha256"], result["size"] = hashlib.sha256(file).hexdigest(), len(file)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, struct.error):
        return
