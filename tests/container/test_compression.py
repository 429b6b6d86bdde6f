"""One zstd frame and nothing else; no frame makes the reader take more memory than it states."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import zstandard

from dsvd_registry.container.frames import NUMBERS, TEXT, compress, compress_blocks, decompress
from dsvd_registry.errors import ContainerError

DATA = b"a delta, and another delta, and so on"
SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"skip"


def zstd(data: bytes, **options: bool | int) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


def stored_frame(data: bytes, window: int, size: int | None = None) -> bytes:
    """One stored block under a window descriptor of its own."""
    block = struct.pack("<I", len(data) << 3 | 1)[:3] + data
    stated = struct.pack("<I", len(data) if size is None else size)
    return b"\x28\xb5\x2f\xfd\x80" + bytes([window]) + stated + block


@pytest.mark.parametrize("data", [b"x", DATA, bytes(10**6), os.urandom(300_000)])
@pytest.mark.parametrize("level", [NUMBERS, TEXT])
def test_back_and_forth(data: bytes, level: int) -> None:
    frame = compress(data, level)
    assert decompress(frame, len(data), "it") == data
    assert decompress(memoryview(frame), len(data), "it") == data
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.has_checksum) == (len(data), False)
    assert (parameters.dict_id, compress(data, level)) == (0, frame)


def test_other_writers() -> None:
    """A checksum, and a window of 2^27 bytes, are no fault."""
    assert decompress(zstd(DATA, write_checksum=True), len(DATA), "it") == DATA
    assert decompress(stored_frame(DATA, 17 << 3), len(DATA), "it") == DATA


def _dictionary(data: bytes) -> bytes:
    trained = zstandard.ZstdCompressionDict(data * 9, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame = zstandard.ZstdCompressor(dict_data=trained).compress(data)
    return frame[:4] + bytes([frame[4] | 1]) + b"\7" + frame[5:]  # a single segment: no window


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:0], "not a zstd frame"),
        (lambda data: data, "not a zstd frame"),
        (lambda data: zstd(data)[1:], "not a zstd frame"),
        (lambda data: SKIPPABLE + zstd(data), "not a zstd frame"),
        (lambda data: zstd(data, write_content_size=False), "does not hold"),
        (lambda data: zstd(data + b"x"), "does not hold"),
        (lambda data: zstd(data[1:]), "does not hold"),
        (lambda data: zstd(data[:0]), "does not hold"),
        (lambda data: zstd(data)[:-1], "it: "),
        (lambda data: zstd(data)[:6], "it: "),
        (lambda data: zstd(data) + b"\0", "it: "),
        (lambda data: zstd(data) + SKIPPABLE, "it: "),
        (lambda data: zstd(data) + zstd(data), "it: "),
        (lambda data: zstd(data[:9]) + zstd(data[9:]), "does not hold"),
        (_dictionary, "dictionary"),
        (lambda data: stored_frame(data, 17 << 3 | 1), "window"),
        (lambda data: stored_frame(data, 21 << 3), "window"),
        (lambda data: stored_frame(data, 31 << 3), "it"),
        (lambda data: stored_frame(data[1:], 0, len(data)), "it"),
        (lambda data: stored_frame(data + b"x", 0, len(data)), "it"),
        (lambda data: zstd(data, write_checksum=True)[:-1] + b"!", "it: "),
    ],
)
def test_refused(change: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        decompress(change(DATA), len(DATA), "it")


def test_memory_is_what_was_asked_for() -> None:
    """A bomb: 64 MiB of zeros in some KB, stated rightly or not."""
    bomb = zstd(bytes(2**26))
    assert len(bomb) < 10_000
    lying = stored_frame(b"x", 10 << 3, 2**26)
    unsized = zstd(bytes(2**26), write_content_size=False)
    tracemalloc.start()
    try:
        for frame, size in ((bomb, 1000), (bomb, 2**26 - 1), (lying, 1), (unsized, 1000)):
            with pytest.raises(ContainerError):
                decompress(frame, size, "it")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_blocks_are_one_frame() -> None:
    """Bytes come back whole, however they are split; each block has a code of its own."""
    low, high = bytes(range(4)) * 3000, bytes(range(200, 204)) * 3000
    apart = compress_blocks([low, high], NUMBERS)
    assert decompress(apart, len(low + high), "the frame") == low + high
    shuffled = np.random.default_rng(0)
    low, high = (shuffled.permutation(np.frombuffer(x, np.uint8)).tobytes() for x in (low, high))
    assert len(compress_blocks([low, high], NUMBERS)) < 0.9 * len(
        compress_blocks([low + high], NUMBERS)
    )
    assert decompress(compress_blocks([], NUMBERS), 0, "nothing") == b""
