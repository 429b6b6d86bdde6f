"""A container is a pure function of what is written, its frames in the order of the spec."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest
from spec.building import Built
from spec.header_bytes import encode
from spec.sealing import frames_of, header_bytes_of, payload_of, unzstd
from spec.valid_vectors import many_frames, small

from dsvd_registry.container.parse_header import parse_header
from dsvd_registry.container.records import Omission, Part
from dsvd_registry.container.rows import Run
from dsvd_registry.container.writer import FRAME_TARGET, PayloadWriter, write_container
from dsvd_registry.errors import ContainerError, StorageError
from dsvd_registry.hashing import sha256


def test_same_bytes_twice() -> None:
    for recipe in (small, many_frames):
        assert recipe().build().file == recipe().build().file


def test_order_of_arrival_within_a_frame_only() -> None:
    """Frames go by content, then band, then as they were filled."""
    contents = ("components", "bytes", "tables", "elements")
    adds = [(content, band) for band in (1, 0) for content in contents]
    for order in (adds, adds[::-1]):
        payload = PayloadWriter(io.BytesIO())
        for content, band in order:
            payload.add(content, Part(band, 1), Run.alone(f"{content} {band}".encode()), band)
        payload.add("source_header", None, Run.alone(b"{}"))
        frames = payload.finish()
        whole = b"".join(payload.chunks())
        held, position = [], 0
        for frame in frames:
            stored = whole[position : position + frame.stored]
            assert sha256(stored) == frame.sha256
            assert len(unzstd(stored)) == frame.raw
            held.append(unzstd(stored).decode())
            position += frame.stored
        assert position == len(whole)
        assert held == [
            *("tables 0", "tables 1", "elements 0", "elements 1", "bytes 0", "bytes 1"),
            *("{}", "components 0", "components 1"),
        ]


def test_frames_are_closed_when_full() -> None:
    payload = PayloadWriter(io.BytesIO())
    half = bytes(FRAME_TARGET // 2)
    for tensor in range(5):
        payload.add("bytes", Part(tensor, len(half)), Run.alone(half))
    payload.add("elements", Part(5, 3), Run.alone(b"abc"))
    frames = payload.finish()
    assert [(frame.content, [part.tensor for part in frame.parts]) for frame in frames] == [
        ("elements", [5]),
        ("bytes", [0, 1]),
        ("bytes", [2, 3]),
        ("bytes", [4]),
    ]
    assert [frame.raw for frame in frames] == [3, FRAME_TARGET, FRAME_TARGET, len(half)]


def test_runs_of_all_parts_by_their_keys() -> None:
    payload = PayloadWriter(io.BytesIO())
    payload.add("components", Part(0, 2), [Run((1, 200), b"d"), Run((0, 3), b"b")])
    payload.add("components", Part(1, 1), [Run((0, 3), b"c"), Run((0, 1), b"a")])
    frames = payload.finish()
    assert unzstd(b"".join(payload.chunks())) == b"abcd"
    assert [(part.tensor, part.count) for part in frames[0].parts] == [(0, 2), (1, 1)]


def test_nothing_to_write() -> None:
    assert PayloadWriter(io.BytesIO()).finish() == ()


def test_file(small: Built) -> None:
    """Prologue, header, payload: every size and digest is that of what follows."""
    file = small.file
    assert file[:8] == bytes.fromhex("89445356440d0a1a")
    version, stored, size, zero = struct.unpack_from("<IIII", file, 8)
    assert (version, zero) == (1, 0)
    assert sha256(file[:24] + file[56 : 56 + stored]) == file[24:56].hex()
    data = header_bytes_of(file)
    assert len(data) == size and data == encode(small.header)
    told = small.header["frames"]
    assert [sha256(frame) for frame in frames_of(file)] == [frame["sha256"] for frame in told]
    assert len(payload_of(file)) == sum(frame["stored"] for frame in told)


def test_no_header_that_is_not_read(small: Built) -> None:
    """A header that breaks a rule is refused before a byte is written."""
    header = parse_header(encode(small.header), 0, len(small.file))
    for wrong in (
        replace(header, tensors=header.tensors[::-1]),
        replace(header, frames=header.frames[1:]),
        replace(header, left_out=(Omission("x", "y"),) * 70_000),
    ):
        out = io.BytesIO()
        with pytest.raises(ContainerError):
            write_container(wrong, iter(()), out)
        assert out.getvalue() == b""


@pytest.mark.parametrize("more", [-1, 1])
def test_no_payload_of_another_size(small: Built, more: int) -> None:
    """The header says what follows it; a scratch file that was cut short is found."""
    header = parse_header(encode(small.header), 0, len(small.file))
    payload = (payload_of(small.file) + b"x")[: len(payload_of(small.file)) + more]
    with pytest.raises(StorageError, match="but its header says"):
        write_container(header, iter([payload]), io.BytesIO())
    out = io.BytesIO()
    write_container(header, iter([payload_of(small.file)]), out)
    assert out.getvalue() == small.file
