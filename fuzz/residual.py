"""A fuzz target: a residual file, the bytes of its header, one frame with a correct digest, or a run.

The first byte selects the kind: the first byte of the magic, 0xDF, the number of a vector (the
second byte is the number of the frame to replace), or a dtype (the next two give the number of
elements).
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dsvd_registry.container.frames import BYTES, RESIDUAL, compress, decompress, stored_header
from dsvd_registry.hashing import sha256
from dsvd_registry.residual.header import header_bytes, parse_header
from dsvd_registry.residual.ordered import ElementFormat, FloatFormat
from dsvd_registry.residual.predicted import Predicted, predicted_floats
from dsvd_registry.residual.reader import Residual
from dsvd_registry.residual.records import RESIDUAL_FORMATS, ResidualHeader
from dsvd_registry.residual.run import decode_run, encode_run

from . import VALID

VECTORS = VALID.parent / "residual" / "valid"
NAMES = ("plain", "own-components", "digits", "all-groups", "tree")
MAGIC, HEADER, RUN = 0x89, 0xDF, 0xE0  # the first byte; vectors are below the others
KINDS = list(RESIDUAL_FORMATS.values())
MOST = 1 << 22  # numbers of a tensor: even a small file may describe a huge one


def seeds() -> Iterator[bytes]:
    for path in sorted(VECTORS.glob("*.dsvdr")):
        yield path.read_bytes()
    for which, (header, contents) in enumerate(_opened()):
        yield bytes([HEADER]) + header_bytes(header)
        for number, content in enumerate(contents):
            yield bytes([which, number]) + content
    for number, of in enumerate(KINDS):
        guess = prediction(300, of)
        runs = encode_run(guess.bits[::-1].copy(), guess)
        yield bytes([RUN + number, 1, 44]) + b"".join(run.data for run in runs)


def read(data: bytes, folder: Path) -> None:
    if len(data) < 4:
        return
    if data[0] == MAGIC:
        read_file(data, folder)
    elif data[0] == HEADER:
        header = parse_header(data[1:], 0, len(data))
        assert header_bytes(header) == data[1:], "a header has two spellings"
    elif data[0] >= RUN:
        of = KINDS[(data[0] - RUN) % len(KINDS)]
        guess = prediction(256 * data[1] + data[2], of)
        source = decode_run(memoryview(data)[3:], guess)
        again = encode_run(source, guess)
        content = memoryview(b"".join(run.data for run in again))
        assert (decode_run(content, guess) == source).all()
    else:
        read_file(_refilled(data), folder)


def read_file(data: bytes, folder: Path) -> None:
    """Read a whole file, with predictions of every exponent."""
    path = folder / "hostile.dsvdr"
    path.write_bytes(data)
    with Residual(path) as residual:
        residual.check_frames()
        for tensor in residual.header.tensors:
            if tensor.rank and tensor.rank * sum(tensor.matrix_shape) <= MOST:
                residual.components(tensor)
            for number in range(tensor.runs):
                guess = prediction(tensor.run_elements(number), tensor.of)
                assert len(residual.run(tensor, number, guess)) == len(guess)


def prediction(count: int, of: ElementFormat) -> Predicted:
    """Predictions of so many elements, of all classes, and with borders on both sides."""
    step = 0x9E3779B1
    spread = np.arange(count, dtype=np.uint32) * np.uint32(step)
    if isinstance(of, FloatFormat):
        bits = np.arange(count, dtype=of.unsigned) * of.unsigned.type(step >> (32 - of.bits) | 1)
        return predicted_floats(bits, spread, of)
    codes = (spread >> (32 - of.bits)).astype(np.uint8)
    return Predicted(of, codes, spread % 2 == 1, (spread >> 8).astype(np.uint8))


@functools.cache
def _opened() -> list[tuple[ResidualHeader, list[bytes]]]:
    """The header and the decompressed frames of some test vectors."""
    found = []
    for name in NAMES:
        data = (VECTORS / f"{name}.dsvdr").read_bytes()
        with Residual(VECTORS / f"{name}.dsvdr") as residual:
            header = residual.header
        contents = [
            decompress(data[frame.offset : frame.offset + frame.stored], frame.raw, name)
            for frame in header.frames
        ]
        found.append((header, contents))
    return found


def _refilled(data: bytes) -> bytes:
    header, contents = _opened()[data[0] % len(NAMES)]
    contents = list(contents)
    contents[data[1] % len(contents)] = data[2:]
    stored = [compress(content, BYTES) for content in contents]
    frames = tuple(
        replace(frame, raw=len(content), stored=len(packed), sha256=sha256(packed))
        for frame, content, packed in zip(header.frames, contents, stored, strict=True)
    )
    file = io.BytesIO()
    file.write(stored_header(RESIDUAL, header_bytes(replace(header, frames=frames))))
    file.writelines(stored)
    return file.getvalue()
