"""A fuzz target: an event of the log, from which the catalog is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.store import AliasSet, NoteSet, TagAdded, VersionAdded, events

TIME = "2026-01-02T03:04:05.000006Z"


def seeds() -> Iterator[bytes]:
    yield events.encode(AliasSet(sequence=1, time=TIME, model="m", alias="prod", number=3))
    yield events.encode(NoteSet(sequence=1, time=TIME, model="m", number=1, text="x"))
    yield events.encode(TagAdded(sequence=1, time=TIME, model="m", number=1, tag="t"))
    yield events.encode(
        VersionAdded(
            sequence=1,
            time=TIME,
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
        )
    )


def read(data: bytes, folder: Path) -> None:
    assert events.encode(events.decode(data, "the event")) == data, "an event has two spellings"
