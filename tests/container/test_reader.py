"""The reader over files that are cut, damaged, or crafted: an error of the right kind, always."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from spec.building import Built, Recipe
from spec.exact import Component, encoded
from spec.sealing import (
    header_bytes_of,
    payload_of,
    sealed,
    with_frames,
    with_header,
    with_zstd,
    zstd,
)
from spec.valid_vectors import many_frames, no_tensor, source_again

from dsvd_registry.container.reader import Container
from dsvd_registry.errors import ContainerError, StorageError, UnsupportedFeature

from .conftest import Read

DENSE, LOW, RAW, ROWS = range(4)


@pytest.fixture(scope="module")
def least() -> Built:
    """The fewest bytes that a low-rank tensor takes."""
    recipe = Recipe(1.0, "pickle")
    base = recipe.hold("w", "F32", (1, 1), encoded((1.0,), "F32"))
    recipe.low_rank("w", "F32", (1, 1), [base], [Component(-3, (1,), (1,), 1.0)])
    return recipe.build()


def test_cut_anywhere(small: Built, read: Read) -> None:
    read(small.file)
    for length in range(len(small.file)):
        with pytest.raises(ContainerError):
            read(small.file[:length])


def test_any_one_bit(least: Built, read: Read) -> None:
    read(least.file)
    for place in range(len(least.file) * 8):
        flipped = bytearray(least.file)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(ContainerError) as caught:
            read(bytes(flipped))
        in_version = place // 8 in (8, 9, 10, 11)
        assert isinstance(caught.value, UnsupportedFeature) == in_version


def test_followed_by_something(small: Built, read: Read) -> None:
    for more in (b"\0", small.file):
        with pytest.raises(ContainerError, match="followed by something else"):
            read(small.file + more)


def test_what_it_holds(tmp_path: Path) -> None:
    """Parts over several frames come together again, in order."""
    built = many_frames().build()
    path = tmp_path / "file.dsvd"
    path.write_bytes(built.file)
    with Container(path) as container:
        names = [record.name for record in container.header.tensors]
        assert names == ["a", "a.dense", "a.raw", "b", "b.dense", "b.raw"]
        assert container.size == len(built.file)
        for number in (0, 3):
            table = container.table(number)
            assert table.exponents.tolist() == [-8, -9, -10, -11]
            assert table.singular_values.tolist() == np.float32([8, 4, 8 / 3, 2]).tolist()
            a, b = container.components(number, 4)
            assert a.tolist() == [[100 * k + 1, -2, k, 0] for k in range(4)]
            assert b.tolist() == [[k, 3, -4, 200 - k, 1] for k in range(4)]
            first, second = container.components(number, 2)
            assert (first.tolist(), second.tolist()) == (a[:2].tolist(), b[:2].tolist())
            assert container.elements(number + 1).tolist() == [300 - 30 * k for k in range(20)]
            assert container.raw(number + 2) == b"123456789"
            assert container.raw(number) == b""
        assert container.source_headers() == ()
        sizes = [(frame.content, part.tensor, size) for frame, part, size in container.part_sizes()]
        assert sum(size for _, _, size in sizes) == sum(f.raw for f in container.header.frames)
        assert ("bytes", 2, 4) in sizes


def test_source_header_and_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.dsvd"
    built = source_again().build()
    path.write_bytes(built.file)
    with Container(path) as container:
        assert container.source_headers() == (built.source_header,)
    path.write_bytes(no_tensor().build().file)
    with Container(path) as container:
        assert container.header.tensors == ()
        assert container.source_headers() == ()
        container.check_file()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"zero": 1}, "reserved"),
        ({"stored": 2**26 + 2**20 + 1}, "over its limit"),
        ({"stored": 2**20}, "ends inside its header"),
        ({"digest": 1}, "does not have its SHA-256"),
        ({"zero": 1, "stored": 2**26 + 2**20 + 1}, "reserved"),
    ],
)
def test_prologue(small: Built, read: Read, fields: dict[str, int], message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        read(sealed(header_bytes_of(small.file), payload_of(small.file), **fields))


@pytest.mark.parametrize(
    "data", [b"", b"\x89DSVD\r\n", b"\x89DSVD\n\x1a\n" + bytes(99), b"PK\3\4" * 9]
)
def test_another_file(read: Read, data: bytes) -> None:
    with pytest.raises(ContainerError, match=r"not a \.dsvd container"):
        read(data)


def test_ends_inside_its_prologue(small: Built, read: Read) -> None:
    with pytest.raises(ContainerError, match="inside its prologue"):
        read(small.file[:55])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Container(tmp_path / "none.dsvd")
    with pytest.raises(StorageError):
        Container(tmp_path)


def test_tables_are_checked_on_opening(small: Built, tmp_path: Path) -> None:
    path = tmp_path / "file.dsvd"

    def rises(header: object, contents: list[bytes]) -> None:
        contents[0] = contents[0][:18] + contents[0][18:][::-1]

    path.write_bytes(with_frames(small, rises))
    with pytest.raises(ContainerError, match="tensor 'low'"):
        Container(path)


def test_sizes_of_components_are_checked_on_opening(small: Built, tmp_path: Path) -> None:
    path = tmp_path / "file.dsvd"

    def longer(header: object, contents: list[bytes]) -> None:
        contents[3] += b"\0"

    path.write_bytes(with_frames(small, longer))
    with pytest.raises(ContainerError, match=r"frames\[3\] declares 7 bytes for 6"):
        Container(path)


def test_numbers_other_than_stated(small: Built, read: Read) -> None:
    for number, change in (
        (1, lambda data: bytes(len(data))),  # the maximum of the elements is not reached
        (1, lambda data: data[:6] + b"\2" + data[7:]),  # one is over it
        (3, lambda data: bytes(len(data))),  # a component of zeros
        (3, lambda data: data[:1] + bytes([6 + 9 * 5]) + data[2:]),  # one under its maximum
    ):

        def edit(header: object, contents: list[bytes], number=number, change=change) -> None:
            contents[number] = change(contents[number])

        with pytest.raises(ContainerError, match=r"tensor '(dense|low)'"):
            read(with_frames(small, edit))


def test_frames_as_zstd_has_them(small: Built, read: Read) -> None:
    for number in range(4):
        read(with_zstd(small, number, lambda data: zstd(data, 19, write_checksum=True)))
        for bad in (
            lambda data: zstd(data) + b"\0",
            lambda data: zstd(data, write_content_size=False),
            lambda data: zstd(data + b"x"),
        ):
            with pytest.raises(ContainerError, match=rf"frames\[{number}\]"):
                read(with_zstd(small, number, bad))


def test_memory_for_claims(small: Built, read: Read) -> None:
    """Counts, shapes and sizes near their limits cost nothing until they are found to be true."""

    def claim(**fields: object) -> bytes:
        return with_header(small, lambda header: header["tensors"][LOW].update(fields), refit=False)

    def frame(number: int, **fields: object) -> bytes:
        return with_header(small, lambda h: h["frames"][number].update(fields), refit=False)

    most = 2**53 - 1
    files = [
        claim(shape=[2**24, 2**24], rank=2**24),
        claim(shape=[2**49 - 1, 1]),
        frame(3, raw=2**26),
        frame(0, raw=13 * 2**22, parts=[{"tensor": LOW, "count": 2**22}]),
        frame(1, parts=[{"tensor": DENSE, "count": most}]),
        frame(2, stored=2**26, raw=2**26, parts=[{"tensor": RAW, "count": 2**26}]),
        with_header(small, lambda h: h["results"][0].update(size=most), refit=False)[:-1],
    ]
    tracemalloc.start()
    try:
        for file in files:
            with pytest.raises(ContainerError):
                read(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
