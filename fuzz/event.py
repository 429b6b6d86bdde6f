"""A fuzz target: an event of the log, from which the catalog is made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import xxhash

from dsvd_registry.store import AliasSet, Event, NoteSet, TagAdded, VersionAdded, events

TIME = "2026-01-02T03:04:05.000006Z"
VERSION = VersionAdded(
    model="m",
    number=1,
    container="0" * 64,
    size=1,
    base="1" * 64,
    source_format="safetensors",
    source_sha256="2" * 64,
    source_size=2,
    settings='{"tau":0.5}',
    summary={"error": 0.5, "low_rank": 1},
    note="",
    digests={"source": {"": {"crc32": "00112233"}}},
)
ALIAS = AliasSet(model="m", alias="prod", number=3)
NOTE = NoteSet(model="m", number=1, text="x")
TAG = TagAdded(model="m", number=1, tag="t")


def seeds() -> Iterator[bytes]:
    for changes in ((ALIAS,), (NOTE, TAG), (VERSION,)):
        yield events.encode(
            Event(sequence=1, time=TIME, previous=None, write_id="3" * 32, changes=changes)
        )


def with_checksum(data: bytes) -> bytes:
    """The bytes with the checksum that they should have, if they end as those of an event."""
    found = re.fullmatch(rb'(.*),"xxh3":"[^"]*"\}', data, re.DOTALL)
    if found is None:
        return data
    checksum = xxhash.xxh3_64_hexdigest(found[1] + b"}").encode()
    return found[1] + b',"xxh3":"%s"}' % checksum


def read(data: bytes, folder: Path) -> None:
    data = with_checksum(data)  # who writes into a log can compute one
    assert events.encode(events.decode(data, "the event")) == data, "an event has two spellings"
