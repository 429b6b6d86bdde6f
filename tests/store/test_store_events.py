from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry import canonical, hashing
from dsvd_registry.errors import InvalidArgument, RegistryError
from dsvd_registry.store import (
    AliasRemoved,
    AliasSet,
    BaseAdded,
    BaseRemoved,
    Event,
    EventLog,
    FileArchived,
    FileRestored,
    NoteSet,
    OriginalAdded,
    OriginalRemoved,
    RegistryFolder,
    ResidualAdded,
    ResidualRemoved,
    SignatureAdded,
    TagAdded,
    TagRemoved,
    VersionAdded,
    VersionRemoved,
    events,
)

TIME = "2026-01-02T03:04:05.000006Z"
A, B, C = "a" * 64, "b" * 64, "c" * 64


def base_added(sequence: int = 1) -> BaseAdded:
    return BaseAdded(
        sequence=sequence,
        time=TIME,
        name="sd15",
        digest=A,
        manifest=B,
        file=C,
        size=7,
        format="pickle",
        link="/models/sd15.ckpt",
    )


def version_added(sequence: int = 2) -> VersionAdded:
    return VersionAdded(
        sequence=sequence,
        time=TIME,
        model="subject-42",
        number=1,
        container=B,
        size=10,
        base=A,
        source_format="safetensors",
        source_sha256=C,
        source_size=100,
        settings='{"tau":0.5}',
        summary={"tensors": 5, "tau": 0.5, "layout": "ldm"},
        note="first\ntry é",
    )


def note(sequence: int, text: str = "") -> NoteSet:
    return NoteSet(sequence=sequence, time=TIME, model="m", number=1, text=text)


EVERY = [
    base_added(),
    BaseRemoved(sequence=1, time=TIME, name="sd15"),
    version_added(),
    VersionRemoved(sequence=1, time=TIME, model="m", number=3),
    AliasSet(sequence=1, time=TIME, model="m", alias="prod", number=3),
    AliasRemoved(sequence=1, time=TIME, model="m", alias="prod"),
    TagAdded(sequence=1, time=TIME, model="m", number=1, tag="anime"),
    TagRemoved(sequence=1, time=TIME, model="m", number=1, tag="anime"),
    note(1, "text"),
    ResidualAdded(sequence=1, time=TIME, model="m", number=1, residual=C, size=5),
    ResidualRemoved(sequence=1, time=TIME, model="m", number=1),
    OriginalAdded(sequence=1, time=TIME, model="m", number=1),
    OriginalRemoved(sequence=1, time=TIME, model="m", number=1),
    FileArchived(
        sequence=1, time=TIME, model="m", number=1, path="/a/é", mtime_ns=-5, mode=0o600, link=None
    ),
    FileRestored(sequence=1, time=TIME, path="C:\\a"),
    SignatureAdded(sequence=1, time=TIME, model="m", number=1, signer=A, signature=B),
]


@pytest.mark.parametrize("event", EVERY, ids=lambda event: type(event).__name__)
def test_events_come_back_as_they_went(event: Event) -> None:
    data = events.encode(event)
    assert events.decode(data, "it") == event
    assert events.encode(events.decode(data, "it")) == data


def test_every_kind_is_tried() -> None:
    assert {type(event) for event in EVERY} == set(events.KINDS.values())


def test_the_bytes_are_pinned() -> None:
    """Changing this breaks every registry that exists."""
    assert events.encode(version_added()) == (
        b'{"base":"%s","container":"%s","event":"version-added","model":"subject-42",'
        b'"note":"first\\ntry \\u00e9","number":1,"sequence":2,"settings":"{\\"tau\\":0.5}",'
        b'"size":10,"source_format":"safetensors","source_sha256":"%s","source_size":100,'
        b'"summary":{"layout":"ldm","tau":0.5,"tensors":5},"time":"%s"}'
    ) % (A.encode(), B.encode(), C.encode(), TIME.encode())


@settings(deadline=None)
@given(st.text(), st.floats(), st.integers())
def test_any_text_and_number_is_kept_or_refused(text: str, real: float, whole: int) -> None:
    summary: dict[str, int | float | str] = {"a": text, "b": real, "c": whole}
    try:
        event = dataclasses.replace(version_added(), note=text, summary=summary)
    except InvalidArgument:
        return
    assert events.decode(events.encode(event), "it") == event


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", 0),
        ("sequence", True),
        ("sequence", 10**9),
        ("time", "2026-01-02T03:04:05Z"),
        ("time", "2026-13-02T03:04:05.000006Z"),
        ("model", "../x"),
        ("model", "con"),
        ("number", 0),
        ("container", "A" * 64),
        ("size", -1),
        ("size", 2**63),
        ("source_format", "Pickle!"),
        ("settings", '{"tau": 0.5}'),
        ("settings", "NaN"),
        ("summary", {"x": float("nan")}),
        ("summary", {"x": None}),
        ("summary", {"Not a word": 1}),
        ("summary", {f"k{n}": n for n in range(65)}),
        ("note", "\0"),
        ("note", "\ud800"),
        ("note", "x" * 65_537),
        ("note", None),
    ],
)
def test_bad_fields_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument):
        dataclasses.replace(version_added(), **{field: value})
    fields = {**dataclasses.asdict(version_added()), "event": "version-added", field: value}
    try:
        data = canonical.encode_small(fields)
    except InvalidArgument:
        return
    with pytest.raises(RegistryError):
        events.decode(data, "it")


def test_bad_base_fields() -> None:
    for change in ({"format": "gguf"}, {"link": "relative"}, {"link": ""}):
        with pytest.raises(InvalidArgument):
            dataclasses.replace(base_added(), **change)
    for link in (None, "C:\\models\\sd15.ckpt"):
        assert dataclasses.replace(base_added(), link=link).link == link


def test_what_a_newer_version_wrote() -> None:
    for data in (
        canonical.encode_small({"event": "version-frozen", "sequence": 1, "time": TIME}),
        canonical.encode_small(
            {"event": "base-removed", "name": "x", "sequence": 1, "time": TIME, "why": "?"}
        ),
    ):
        with pytest.raises(RegistryError, match="newer version"):
            events.decode(data, "it")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{", b"\xff", b'{"event": "base-removed"}', b"[" * 200_000, b"1e400"],
)
def test_what_is_no_event(data: bytes) -> None:
    with pytest.raises(RegistryError):
        events.decode(data, "it")


def test_a_missing_field() -> None:
    with pytest.raises(RegistryError, match="lacks the field 'name'"):
        events.decode(
            canonical.encode_small({"event": "base-removed", "sequence": 1, "time": TIME}), "it"
        )


@pytest.fixture
def log(registry: RegistryFolder) -> EventLog:
    return EventLog(registry)


def fill(log: EventLog, count: int) -> None:
    for sequence in range(1, count + 1):
        log.append(note(sequence, f"text {sequence}"))


def paths(registry: RegistryFolder) -> list[Path]:
    return sorted(registry.events.glob("*/*"))


def test_append_and_iterate(log: EventLog, registry: RegistryFolder) -> None:
    assert list(log.after(0)) == []
    assert not log.pending(0)
    fill(log, 3)
    assert list(log.after(0)) == [note(n, f"text {n}") for n in (1, 2, 3)]
    assert list(log.after(2)) == [note(3, "text 3")]
    assert list(log.after(3)) == []
    assert log.pending(2)
    assert not log.pending(3)
    data = events.encode(note(3, "text 3"))
    assert log.digest(3) == hashing.sha256(data)
    assert log.digest(4) is None
    name = f"000000003-{hashing.sha256(data)}.json"
    assert (registry.events / "000000" / name).read_bytes() == data
    assert not os.access(registry.events / "000000" / name, os.W_OK) or os.geteuid() == 0
    assert list(registry.tmp.iterdir()) == []


def test_shards_hold_a_thousand(log: EventLog, registry: RegistryFolder) -> None:
    for sequence in (998, 999, 1000, 1001):
        log.append(note(sequence))
    assert [event.sequence for event in log.after(997)] == [998, 999, 1000, 1001]
    assert [event.sequence for event in log.after(999)] == [1000, 1001]
    assert sorted(path.name for path in registry.events.iterdir()) == ["000000", "000001"]
    assert log.pending(999)
    for path in (registry.events / "000000").glob("*999-*"):
        path.unlink()
    with pytest.raises(RegistryError, match="event 999 is missing"):
        list(log.after(998))
    with pytest.raises(RegistryError, match="event 999 is missing"):
        list(log.after(997))


def test_a_gap_names_the_missing_number(log: EventLog, registry: RegistryFolder) -> None:
    fill(log, 5)
    paths(registry)[2].unlink()
    with pytest.raises(RegistryError, match="event 3 is missing"):
        list(log.after(0))
    assert [event.sequence for event in log.after(3)] == [4, 5]


def test_every_flipped_bit_is_found(log: EventLog, registry: RegistryFolder) -> None:
    fill(log, 1)
    path = paths(registry)[0]
    data = path.read_bytes()
    path.chmod(0o644)
    for position in range(len(data)):
        path.write_bytes(
            data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :]
        )
        with pytest.raises(RegistryError, match="damaged"):
            list(log.after(0))


def test_two_events_with_one_number(log: EventLog, registry: RegistryFolder) -> None:
    fill(log, 2)
    data = events.encode(note(2, "another"))
    (registry.events / "000000" / f"000000002-{hashing.sha256(data)}.json").write_bytes(data)
    for call in (lambda: list(log.after(0)), lambda: log.append(note(3)), lambda: log.pending(0)):
        with pytest.raises(RegistryError, match="two events numbered 2"):
            call()


def test_a_number_is_not_given_twice(log: EventLog) -> None:
    fill(log, 1)
    with pytest.raises(RegistryError, match="event 1 is in"):
        log.append(note(1, "other"))


def test_files_that_do_not_belong(log: EventLog, registry: RegistryFolder) -> None:
    fill(log, 1)
    path = paths(registry)[0]
    (path.parent / ".DS_Store").write_bytes(b"")
    assert len(list(log.after(0))) == 1
    (path.parent / (path.stem + " (conflicted copy).json")).write_bytes(b"")
    with pytest.raises(RegistryError, match="does not belong"):
        list(log.after(0))


def test_an_event_under_another_number(log: EventLog, registry: RegistryFolder) -> None:
    data = events.encode(note(7))
    (registry.events / "000000").mkdir()
    (registry.events / "000000" / f"000000001-{hashing.sha256(data)}.json").write_bytes(data)
    with pytest.raises(RegistryError, match="contains the event 7"):
        list(log.after(0))


def test_links_are_not_followed(log: EventLog, registry: RegistryFolder, tmp_path: Path) -> None:
    fill(log, 1)
    path = paths(registry)[0]
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    with pytest.raises(RegistryError, match="not a plain file"):
        list(log.after(0))
    path.parent.rename(tmp_path / "shard")
    path.parent.symlink_to(tmp_path / "shard")
    with pytest.raises(RegistryError, match="symbolic link"):
        list(log.after(0))
