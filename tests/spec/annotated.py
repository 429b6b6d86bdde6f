"""The golden container `annotated` with a word on each of its bytes, as the text shows it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .building import Built
from .header_bytes import real, text, uint
from .sealing import frames_of, header_bytes_of, unzstd

Piece = tuple[bytes, str]


def listing(built: Built) -> str:
    """The whole file: hexadecimal, then what it says."""
    file = built.file
    (stored,) = struct.unpack_from("<I", file, 12)
    frames = frames_of(file)
    result = built.result()
    assert result is not None
    (length,) = struct.unpack_from("<Q", result)
    blocks = [
        f"The file, of {len(file)} bytes:",
        _shown(
            [
                (file[:8], "magic"),
                (file[8:12], "version 1"),
                (file[12:16], f"S = {stored}"),
                (file[16:20], f"H = {len(header_bytes_of(file))}"),
                (file[20:24], "zero"),
                (file[24:56], "SHA-256 of bytes 0 to 23 and of the stored header"),
                (file[56 : 56 + stored], "the header, stored"),
                *((frame, f"frame {i}, stored") for i, frame in enumerate(frames)),
            ]
        ),
        "Its header, decompressed:",
        _shown(list(_header(built))),
        "Its frames, decompressed:",
        _shown(list(_frames(built))),
        "The base has the tensor `w` with these 16 bytes:",
        _shown([(built.base["w"][2], "1.0, 2.0, 3.0, 4.0")]),
        "d is 2^-3 times (2, -1) times (1, 9): 0.25, 2.25, -0.125, -1.125. The result, of "
        f"{len(result)} bytes:",
        _shown(
            [
                (result[:8], f"the length of the JSON, {length}"),
                (result[8 : 8 + length], result[8 : 8 + length].decode()),
                (result[8 + length : 24 + length], "w: 1.25, 4.25, 2.875, 2.875"),
                (result[24 + length :], "b"),
            ]
        ),
    ]
    assert header_bytes_of(file) == b"".join(data for data, _ in _header(built))
    contents = b"".join(map(unzstd, frames))
    assert contents == b"".join(data for data, _ in _frames(built))
    return "\n\n".join(blocks) + "\n"


def _header(built: Built) -> Iterator[Piece]:
    header = built.header
    base, source, encoding = header["base"], header["source"], header["encoding"]
    yield uint(0), "no features"
    yield bytes.fromhex(base["digest"]), "base digest"
    yield text(base["name"]), f"base name: 4 bytes, {base['name']}"
    yield text(source["format"]), f"source format: 11 bytes, {source['format']}"
    yield bytes.fromhex(source["sha256"]), "source digest"
    yield uint(source["size"]), f"source size: {source['size']}"
    yield uint(encoding["tau"]), f"tau: {encoding['tau']} millionths"
    yield real(encoding["grid_noise"]), f"grid noise: {encoding['grid_noise']}"
    yield b"\0", "aim: tau"
    yield b"\0", "no merge"
    yield b"\0", "nothing left out"
    yield b"\0", "no tree"
    yield b"\2", "2 tensors"
    yield b"\3" + text("b"), "raw; name b"
    yield b"\x11\1\1", "U8 of shape [1]"
    yield b"\0", "reason: new"
    yield b"\1" + text("w"), "low_rank; name w"
    yield b"\4\2\2\2", "F32 of shape [2, 2]"
    yield b"\0\0", "no new rows; view reshape"
    yield b"\1" + text("w") + b"\4\2\2\2", "1 base tensor: w, F32 of shape [2, 2]"
    yield bytes.fromhex(header["tensors"][1]["base"][0]["sha256"]), "its SHA-256"
    yield b"\1\1\2", "rank 1, tau rank 1, noise rank 2"
    yield real(1.0), "nuclear norm 1.0"
    for value, name in ((5.5, "base norm"), (2.5, "norm"), (0.125, "error")):
        yield struct.pack("<f", value), f"{name} {value}"
    yield b"\3", "3 frames"
    for number, frame in enumerate(header["frames"]):
        code = {"tables": 0, "bytes": 2, "components": 5}[frame["content"]]
        start = bytes([code]) + uint(frame["raw"]) + uint(frame["stored"])
        yield (
            start,
            f"frame {number}: {frame['content']}, raw {frame['raw']}, stored {frame['stored']}",
        )
        yield bytes.fromhex(frame["sha256"]), "its SHA-256"
        (part,) = frame["parts"]
        yield (
            bytes((1, part["tensor"], part["count"])),
            f"1 part: tensor {part['tensor']}, count {part['count']}",
        )
    (result,) = header["results"]
    yield bytes.fromhex(result["sha256"]), "SHA-256 of model.safetensors"
    yield uint(result["size"]), f"its size: {result['size']}"


def _frames(built: Built) -> Iterator[Piece]:
    tables, _, _ = map(unzstd, frames_of(built.file))
    yield tables[:1], "tables: e = -3"
    yield tables[1:5], "max|a| = 2, in four planes"
    yield tables[5:9], "max|b| = 9"
    yield tables[9:], "singular value 0.75, the bits 3F400000"
    yield b"\7", "bytes: those of b"
    yield b"\x09", "components: string 0 of a (M = 2), zigzag 4, 1: 4 + 1 * 5"
    yield b"\2\x12", "string 0 of b (M = 9), zigzag 2, 18"


def _shown(pieces: list[Piece]) -> str:
    lines = []
    offset = 0
    for data, note in pieces:
        for first in range(0, len(data), 16):
            shown = data[first : first + 16].hex(" ").upper()
            words = note if first == 0 else ""
            lines.append(f"{offset + first:4}  {shown:<47}  {words}".rstrip())
        offset += len(data)
    return "```text\n" + "\n".join(lines) + "\n```"
