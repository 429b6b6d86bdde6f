"""Ranges and conditions of RFC 9110, against the bytes of the files that were added."""

from __future__ import annotations

import email
import email.policy
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvd_registry.server.byte_ranges import MOST_RANGES, NotSatisfiable, byte_ranges

from .conftest import Shelf
from .running import Answer, RunningServer

FILE = "/v1/materialize/single"


@pytest.fixture
def truth(shelf: Shelf) -> bytes:
    return shelf.tuned_file.read_bytes()


def asked(server: RunningServer, ranges: str, **headers: str) -> Answer:
    return server.get(FILE, Range=ranges, **headers)


def test_a_whole_file_and_what_is_said_of_it(server: RunningServer, truth: bytes) -> None:
    found = server.get(FILE)
    assert (found.status, found.body) == (200, truth)
    headers = server.request("HEAD", FILE).headers
    for said in (found.headers, headers):
        assert said["content-length"] == str(len(truth))
        assert said["etag"] == f'"{hashlib.sha256(truth).hexdigest()}"'
        assert said["accept-ranges"] == "bytes"


def test_random_ranges_are_those_of_the_file(server: RunningServer, truth: bytes) -> None:
    chosen = random.Random(5)
    for _ in range(30):
        start, end = sorted(chosen.sample(range(len(truth)), 2))
        found = asked(server, f"bytes={start}-{end}")
        assert (found.status, found.body) == (206, truth[start : end + 1])
        assert found.headers["content-range"] == f"bytes {start}-{end}/{len(truth)}"


def test_open_ends(server: RunningServer, truth: bytes) -> None:
    size = len(truth)
    for ranges, start in ((f"bytes={size - 9}-", size - 9), ("bytes=-9", size - 9)):
        found = asked(server, ranges)
        assert (found.status, found.body) == (206, truth[start:])
    assert asked(server, f"bytes=5-{10**17}").body == truth[5:]
    assert asked(server, f"bytes=-{10**17}").body == truth


def test_several_ranges_come_in_parts(server: RunningServer, truth: bytes) -> None:
    size = len(truth)
    found = asked(server, f"bytes=0-9, 100-149,-7,{size}-")
    assert found.status == 206
    assert int(found.headers["content-length"]) == len(found.body)
    head = f"Content-Type: {found.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + found.body, policy=email.policy.HTTP)
    got = [(part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()]
    assert got == [
        (f"bytes 0-9/{size}", truth[:10]),
        (f"bytes 100-149/{size}", truth[100:150]),
        (f"bytes {size - 7}-{size - 1}/{size}", truth[-7:]),
    ]


@pytest.mark.parametrize(
    "ranges",
    [
        "bytes=99999999999-",
        "bytes=-0",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(MOST_RANGES + 1)),
        "bytes=0-,0-,0-",  # more bytes than the file has
    ],
)
def test_what_cannot_be_satisfied(server: RunningServer, truth: bytes, ranges: str) -> None:
    found = asked(server, ranges)
    assert (found.status, found.body) == (416, b"")
    assert found.headers["content-range"] == f"bytes */{len(truth)}"


@pytest.mark.parametrize(
    "ranges", ["bytes=9-5", "bytes=a-b", "bytes", "lines=1-2", "bytes=--5", "bytes=", "bytes=1-2;3"]
)
def test_what_is_no_range_is_ignored(server: RunningServer, truth: bytes, ranges: str) -> None:
    found = asked(server, ranges)
    assert (found.status, found.body) == (200, truth)


def test_conditions(server: RunningServer, truth: bytes) -> None:
    tag = server.request("HEAD", FILE).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        found = server.get(FILE, If_None_Match=known)
        assert (found.status, found.body, found.headers["etag"]) == (304, b"", tag)
    assert server.get(FILE, If_None_Match='"other"').body == truth
    assert asked(server, "bytes=0-9", If_Range=tag).body == truth[:10]
    for other in ('"other"', f"W/{tag}", "Mon, 30 Nov 2026 09:00:00 GMT"):
        found = asked(server, "bytes=0-9", If_Range=other)
        assert (found.status, found.body) == (200, truth)


def test_the_tag_is_of_the_bytes(server: RunningServer) -> None:
    """The same bytes have the same tag; each other form of a version has its own."""
    forms = ("", "?tau=0.2", "?tau=0.3", "?dtype=fp16", "?dtype=bf16", "?tau=0.2&dtype=fp16")
    path = "/v1/materialize/subject@1/unet/diffusion_pytorch_model.safetensors"
    answers = [server.get(path + form) for form in forms]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == len(forms)
    assert len({answer.body for answer in answers}) == len(forms)
    again = server.request("HEAD", path + "?tau=0.3").headers["etag"]
    assert again == answers[2].headers["etag"]


@given(
    size=st.integers(1, 40),
    asked=st.lists(
        st.tuples(st.none() | st.integers(0, 50), st.none() | st.integers(0, 50)),
        min_size=1,
        max_size=4,
    ),
)
def test_ranges_are_read_as_the_standard_says(
    size: int, asked: list[tuple[int | None, int | None]]
) -> None:
    """Compared with the positions that each range names, one by one."""
    header = "bytes=" + ",".join(
        f"{'' if a is None else a}-{'' if b is None else b}" for a, b in asked
    )
    valid = all(
        (a is not None or b is not None) and not (a is not None and b is not None and a > b)
        for a, b in asked
    )
    named = []
    for first, last in asked if valid else ():
        if first is None:
            assert last is not None
            positions = [n for n in range(size) if n >= size - last]
        else:
            positions = [n for n in range(size) if n >= first and (last is None or n <= last)]
        if positions:
            named.append((positions[0], positions[-1] + 1))
    try:
        found = byte_ranges(header, size)
    except NotSatisfiable:
        assert valid
        assert not named or sum(end - start for start, end in named) > size
    else:
        assert found == (named if valid else None)
