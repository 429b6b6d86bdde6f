"""Rules of single fields: a header has one spelling, and nothing else is taken for one."""

from __future__ import annotations

import copy

import pytest
from spec.building import Built
from spec.exact import Json
from spec.header_bytes import content_digest as digest_of
from spec.header_bytes import encode, text, uint
from spec.sealing import header_bytes_of
from spec.valid_vectors import VALID

from dsvd_registry.container import limits
from dsvd_registry.container.header import content_digest, header_bytes
from dsvd_registry.container.parse_header import parse_header
from dsvd_registry.errors import ContainerError, UnsupportedFeature

ANY_SIZE = 2**40  # of a file: large enough for whatever its header lists


@pytest.mark.parametrize("name", VALID)
def test_back_and_forth(name: str) -> None:
    """The tests' own writer has the same bytes, and the same content digest."""
    make, _ = VALID[name]
    built = make().build()
    data = encode(built.header)
    header = parse_header(data, 100, len(built.file))
    assert header_bytes(header) == data == header_bytes_of(built.file)
    assert content_digest(header) == digest_of(built.header)
    starts = [frame.offset for frame in header.frames]
    stored = [frame.stored for frame in header.frames]
    assert starts == [100 + sum(stored[:i]) for i in range(len(stored))]


def test_cut_anywhere(small: Built) -> None:
    data = encode(small.header)
    for length in range(len(data)):
        with pytest.raises(ContainerError):
            parse_header(data[:length], 0, ANY_SIZE)
    with pytest.raises(ContainerError, match="1 bytes behind its last field"):
        parse_header(data + b"\0", 0, ANY_SIZE)


def test_one_spelling(small: Built) -> None:
    """Another byte at any place is refused, or is another header, which has those very bytes."""
    data = encode(small.header)
    refused = 0
    for place in range(len(data)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                header = parse_header(changed, 0, ANY_SIZE)
            except ContainerError:
                refused += 1
                continue
            assert header_bytes(header) == changed
    assert refused > len(data) // 2


def changed(header: Json, **fields: object) -> bytes:
    return encode({**copy.deepcopy(header), **fields})


def test_too_many_entries(small: Built) -> None:
    """A list is as long as it may be; all together are bounded by the size of the file."""
    entry = {"name": "x", "reason": "y"}
    most = changed(small.header, left_out=[entry] * limits.MAX_TENSORS)
    assert len(parse_header(most, 0, ANY_SIZE).left_out) == limits.MAX_TENSORS
    more = changed(small.header, left_out=[entry] * (limits.MAX_TENSORS + 1))
    with pytest.raises(ContainerError, match="left_out is 131073"):
        parse_header(more, 0, ANY_SIZE)
    others = len(small.header["tensors"]) + len(small.header["frames"])
    others += sum(len(record.get("base", ())) for record in small.header["tensors"])
    others += sum(len(frame["parts"]) for frame in small.header["frames"])
    within = 8 * (limits.MAX_TENSORS + others - limits.FREE_ENTRIES)
    parse_header(most, 0, within)
    with pytest.raises(ContainerError, match="too much for the size of the file"):
        parse_header(most, 0, within - 1)


def test_too_many_dimensions(small: Built) -> None:
    dimensions = sum(
        len(tensor["shape"])
        for record in small.header["tensors"]
        for tensor in (record, *record.get("base", ()))
    )
    record = next(one for one in small.header["tensors"] if one["kind"] == "raw")
    long = [
        {**record, "name": f"{i:05d}", "shape": [0] * 32}
        for i in range(limits.FREE_DIMENSIONS // 32)
    ]
    data = changed(small.header, tensors=[*long, *small.header["tensors"]])
    size = max(dimensions, 8 * len(long))
    parse_header(data, 0, size)
    for more in (1, 2):
        long += [
            {**record, "name": f"1{i:05d}", "shape": [0] * 32} for i in range(size // 32 + more)
        ]
    with pytest.raises(ContainerError, match="too many dimensions"):
        parse_header(changed(small.header, tensors=[*long, *small.header["tensors"]]), 0, size)


@pytest.mark.parametrize("names", [["tiles"], ["a", "tiles"], ["é\n"]])
def test_unknown_feature(small: Built, names: list[str]) -> None:
    """A file that needs what this version lacks is refused by that name, whatever follows it."""
    for data in (
        changed(small.header, requires=names),
        uint(len(names)) + b"".join(map(text, names)) + b"\xff" * 99,
    ):
        with pytest.raises(UnsupportedFeature) as caught:
            parse_header(data, 0, ANY_SIZE)
        assert repr(names[0]) in str(caught.value)
        assert "newer" in caught.value.hint
        assert caught.value.exit_code == ContainerError.exit_code
