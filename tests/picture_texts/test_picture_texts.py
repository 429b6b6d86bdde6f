"""Texts of pictures, whole and hostile."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from dsvd_registry.errors import InvalidArgument
from dsvd_registry.pictures import picture_texts
from dsvd_registry.pictures.picture_texts import MAX_TEXT, MAX_TEXTS

from .drawn import PARAMETERS, chunk, exif_of_a1111, png, png_of_chunks, with_exif

PNG, JPEG, WEBP = (
    png({"parameters": PARAMETERS}),
    with_exif(exif_of_a1111(PARAMETERS), "JPEG"),
    with_exif(exif_of_a1111(PARAMETERS), "WEBP"),
)


def texts_of(data: bytes, tmp_path: Path) -> list[str]:
    (tmp_path / "picture").write_bytes(data)
    return picture_texts(tmp_path / "picture")


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
def test_a_picture_cut_anywhere_gives_its_text_or_none(data: bytes, tmp_path: Path) -> None:
    assert texts_of(data, tmp_path) == [PARAMETERS]
    seen = set()
    for end in range(12, len(data)):
        found = texts_of(data[:end], tmp_path)
        assert found in ([], [PARAMETERS])
        seen.add(bool(found))
    assert seen == {True, False} or data is WEBP  # whose text stands at its very end


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
def test_changed_bytes_do_no_harm(data: bytes, tmp_path: Path) -> None:
    numbers = random.Random(5)
    for _ in range(500):
        changed = bytearray(data)
        for _ in range(numbers.randrange(1, 8)):
            changed[numbers.randrange(12, len(data))] = numbers.choice((0, 1, 0x7F, 0xFF))
        assert sum(map(len, texts_of(bytes(changed), tmp_path))) <= len(data)


def test_every_way_of_a_png_to_write_text(tmp_path: Path) -> None:
    packed = zlib.compress("é 猫".encode())
    data = png_of_chunks(
        chunk(b"tEXt", b"a\0plain \xe9"),
        chunk(b"zTXt", b"b\0\0" + packed),
        chunk(b"iTXt", b"c\0\0\0en\0sea\0" + "猫".encode()),
        chunk(b"iTXt", b"d\0\1\0\0\0" + packed),
        chunk(b"eXIf", exif_of_a1111("in EXIF")[6:]),
        chunk(b"zTXt", b"e\0\1" + packed),  # an unknown compression
        chunk(b"zTXt", b"f\0\0not deflated"),
        chunk(b"zTXt", b"g\0\0" + packed[:-6]),
        chunk(b"tIME", b"1234567"),
    )
    assert texts_of(data, tmp_path) == ["plain é", "é 猫", "猫", "é 猫", "in EXIF"]


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    """100 texts of 256 MiB, of a quarter MB each."""
    inflate = zlib.compressobj(9)
    bomb = b"".join(inflate.compress(bytes(1 << 20)) for _ in range(256)) + inflate.flush()
    data = png_of_chunks(*[chunk(b"zTXt", b"a\0\0" + bomb)] * 100, chunk(b"tEXt", b"a\0after"))
    tracemalloc.start()
    try:
        assert texts_of(data, tmp_path) == ["after"]
        assert tracemalloc.get_traced_memory()[1] < 10 * MAX_TEXT + len(data)
    finally:
        tracemalloc.stop()


def test_many_and_long_texts_are_cut_short(tmp_path: Path) -> None:
    assert texts_of(png_of_chunks(chunk(b"tEXt", b"a\0" + b"x" * MAX_TEXT)), tmp_path) == []
    seven = chunk(b"tEXt", b"a\0" + b"x" * (7 << 20))
    assert len(texts_of(png_of_chunks(*[seven] * 6), tmp_path)) == MAX_TEXTS // (7 << 20) == 4


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"MM\0*",
        b"XX\0*" + struct.pack(">I", 8),
        b"MM\0*" + struct.pack(">I", 0xFFFFFFFF),
        b"MM\0*" + struct.pack(">IH", 8, 0xFFFF),
        b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x8769, 4, 1, 8) + bytes(4),  # a table in itself
        b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x8769, 4, 1, 0xFFFFFFF0) + bytes(4),
        b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x0110, 2, 0xFFFFFFFF, 8) + bytes(4),
        b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0110, 99, 4, 8) + bytes(4),
    ],
)
def test_broken_exif_is_passed_over(exif: bytes, tmp_path: Path) -> None:
    data = png_of_chunks(chunk(b"eXIf", exif), chunk(b"tEXt", b"a\0after"))
    assert texts_of(data, tmp_path) == ["after"]


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"GIF89a" + bytes(20), b"RIFF\0\0\0\0WAVE"])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not a PNG, a JPEG or a WEBP"):
        texts_of(data, tmp_path)
