"""Listings of folders: their bytes, digests, and valid paths."""

from __future__ import annotations

import hashlib

import pytest

from dsvd_registry.checkpoint.folder_listing import (
    MAX_FILES,
    check_paths,
    listing_bytes,
    listing_digest,
    parse_listing,
)
from dsvd_registry.checkpoint.tree import ListedFile
from dsvd_registry.errors import CheckpointError

FILES = (
    ListedFile("config.json", hashlib.sha256(b"{}").hexdigest(), 2),
    ListedFile("unet/config.json", hashlib.sha256(b"").hexdigest(), 0),
    ListedFile("unet-\u00e9", "ab" * 32, 2**53 - 1),
)
SORTED = (FILES[0], FILES[2], FILES[1])  # `-` stands before `/`


def test_bytes_and_digest() -> None:
    data = listing_bytes(FILES)
    assert data == listing_bytes(reversed(FILES))
    assert data.startswith(b'[{"path":"config.json","sha256":"44136fa3')
    assert b'"size":9007199254740991},{"path":"unet/config.json",' in data
    assert b'"unet-\\u00e9"' in data
    assert listing_digest(FILES) == hashlib.sha256(data).hexdigest()
    assert listing_bytes(()) == b"[]"


def test_parsed_again() -> None:
    assert parse_listing(listing_bytes(FILES)) == SORTED
    assert parse_listing(b"[]") == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b'["a"]',
        b"[{}]",
        b'[ {"path":"a","sha256":"00","size":0}]',
        b'[{"path":"a","sha256":"00"}]',
        b'[{"path":"a","sha256":"00","size":"x"}]',
        b'[{"path":"a","sha256":"00","size":1.0}]',
        b'[{"more":0,"path":"a","sha256":"00","size":0}]',
        b'[{"path":"b","sha256":"00","size":0},{"path":"a","sha256":"00","size":0}]',
        listing_bytes(FILES) + b"\n",
        listing_bytes(FILES)[:-1],
    ],
)
def test_no_listing(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="not the listing of a folder"):
        parse_listing(data)


def test_a_listing_of_no_unicode() -> None:
    with pytest.raises(CheckpointError, match="not valid Unicode"):
        listing_digest([ListedFile("a\udcff", "00", 0)])


@pytest.mark.parametrize("path", ["../a", "/a", "a//b"])
def test_a_listing_of_bad_paths(path: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be a file's name"):
        listing_bytes([ListedFile(path, "00", 0)])
    with pytest.raises(CheckpointError):
        parse_listing(b'[{"path":"%s","sha256":"00","size":0}]' % path.encode())


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["a"],
        ["a-b", "a/b", "a/c/d", "a0"],
        ["..a", ".a", ".dsvd", "a..b", "a.dsvd-tmp-"],
        ["\u00e9", "\ue000", "\uffff", "\U0001f600"],
        ["a" * 4096],
        [" a/ b"],
        [f"{i:05d}" for i in range(MAX_FILES)],
    ],
)
def test_good_paths(paths: list[str]) -> None:
    check_paths(paths)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([""], "has 0 bytes, not 1 to 4096"),
        (["\u00e9" * 2049], "has 4098 bytes"),
        (["a\ud800"], "not valid Unicode"),
        *(([f"a{c}b"], "not every system takes") for c in '\0\n\x1f\x7f\\:*?"<>|'),
        *(
            ([path], "cannot be a file's name")
            for path in (
                *("/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a/../b", "..."),
                *("a.", "a ", " ", "a./b", "b /c", ".dsvd-tmp-", "a/.dsvd-tmp-0/b"),
            )
        ),
        (["b", "a"], "not sorted by path"),
        (["a", "a"], "one stands twice"),
        (["a/b", "a-b"], "not sorted by path"),
        (["\U0001f600", "\uffff"], "not sorted by path"),  # as UTF-16 has it
        (["a", "a/b"], "'a/b' leads through a file"),
        (["a", "a-b", "a/b/c/d"], "leads through a file"),
        (["a/b", "a/b/c"], "leads through a file"),
        ([f"{i:05d}" for i in range(MAX_FILES + 1)], "16385 files, more than 16384"),
    ],
)  # fmt: skip
def test_bad_paths(paths: list[str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        check_paths(paths)
