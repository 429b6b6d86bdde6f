from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry import canonical
from dsvd_registry.errors import InvalidArgument, RegistryError
from dsvd_registry.fs import disk
from dsvd_registry.store import (
    START,
    AliasRemoved,
    AliasSet,
    AttachmentAdded,
    AttachmentRemoved,
    BaseAdded,
    BaseRemoved,
    Change,
    Event,
    EventLog,
    FileArchived,
    FileRestored,
    MetadataRemoved,
    MetadataSet,
    NoteSet,
    ObjectsCondemned,
    OriginalAdded,
    OriginalRemoved,
    Position,
    RegistryFolder,
    ResidualAdded,
    ResidualRemoved,
    SignatureAdded,
    TagAdded,
    TagRemoved,
    VersionAdded,
    VersionRemoved,
    event_fields,
    events,
)
from dsvd_registry.store.damage import damaged_events, restore_event
from dsvd_registry.store.event_fields import MAX_CHANGES

TIME = "2026-01-02T03:04:05.000006Z"
A, B, C = "a" * 64, "b" * 64, "c" * 64


def base_added() -> BaseAdded:
    return BaseAdded(
        name="sd15",
        digest=A,
        manifest=B,
        file=C,
        size=7,
        format="pickle",
        link="/models/sd15.ckpt",
    )


def version_added() -> VersionAdded:
    return VersionAdded(
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
        digests={"source": {"": {"sha256": C, "crc32": "00c0ffee"}}},
    )


def note(text: str = "") -> NoteSet:
    return NoteSet(model="m", number=1, text=text)


def event(*changes: Change) -> Event:
    return Event(sequence=2, time=TIME, previous=A, write_id="0f" * 16, changes=changes)


EVERY = [
    base_added(),
    BaseRemoved(name="sd15"),
    version_added(),
    VersionRemoved(model="m", number=3),
    AliasSet(model="m", alias="prod", number=3),
    AliasRemoved(model="m", alias="prod"),
    TagAdded(model="m", number=1, tag="anime"),
    TagRemoved(model="m", number=1, tag="anime"),
    note("text"),
    MetadataSet(model="m", number=1, entries={"trigger": "sks \u202e"}),
    MetadataRemoved(model="m", number=1, key="trigger"),
    AttachmentAdded(
        model="m",
        number=1,
        name="m.preview.png",
        role="preview",
        media_type="image/png",
        attachment=C,
        size=5,
    ),
    AttachmentRemoved(model="m", number=1, name="m.preview.png"),
    ResidualAdded(model="m", number=1, residual=C, size=5, digests={}),
    ResidualRemoved(model="m", number=1),
    OriginalAdded(model="m", number=1),
    OriginalRemoved(model="m", number=1),
    FileArchived(model="m", number=1, path="/a/é", mtime_ns=-5, mode=0o600, link=None),
    FileRestored(path="C:\\a"),
    ObjectsCondemned(objects=[A, B]),
    SignatureAdded(model="m", number=1, signer=A, signature=B),
]


@pytest.mark.parametrize("change", EVERY, ids=lambda change: type(change).__name__)
def test_changes_come_back_as_they_went(change: Change) -> None:
    data = events.encode(event(change))
    assert events.decode(data, "it") == event(change)
    assert events.encode(events.decode(data, "it")) == data


def test_an_event_keeps_its_changes_in_order() -> None:
    assert events.decode(events.encode(event(*EVERY)), "it").changes == tuple(EVERY)


def test_every_kind_is_tried() -> None:
    assert {type(change) for change in EVERY} == set(events.KINDS.values())


def test_the_bytes_are_pinned() -> None:
    """Changing this breaks every registry that exists."""
    body = (
        b'{"changes":[{"base":"%s","container":"%s",'
        b'"digests":{"source":{"":{"crc32":"00c0ffee","sha256":"%s"}}},"kind":"version-added",'
        b'"model":"subject-42",'
        b'"note":"first\\ntry \\u00e9","number":1,"settings":"{\\"tau\\":0.5}",'
        b'"size":10,"source_format":"safetensors","source_sha256":"%s","source_size":100,'
        b'"summary":{"layout":"ldm","tau":0.5,"tensors":5}}],"previous":"%s","sequence":2,'
        b'"time":"%s","write_id":"%s"'
    ) % (A.encode(), B.encode(), C.encode(), C.encode(), A.encode(), TIME.encode(), b"0f" * 16)
    checksum = xxhash.xxh3_64_hexdigest(body + b"}").encode()
    assert events.encode(event(version_added())) == body + b',"xxh3":"%s"}' % checksum


@settings(deadline=None)
@given(st.text(), st.floats(), st.integers())
def test_any_text_and_number_is_kept_or_refused(text: str, real: float, whole: int) -> None:
    summary: dict[str, int | float | str] = {"a": text, "b": real, "c": whole}
    try:
        change = dataclasses.replace(version_added(), note=text, summary=summary)
    except InvalidArgument:
        return
    assert events.decode(events.encode(event(change)), "it") == event(change)


def sealed(fields: dict[str, Any]) -> bytes:
    """The bytes of an event of these fields, with their checksum."""
    body = canonical.encode_small(fields)
    return body[:-1] + b',"xxh3":"%s"}' % xxhash.xxh3_64_hexdigest(body).encode()


def fields_of(*changes: dict[str, Any], **others: object) -> dict[str, Any]:
    said = {"sequence": 2, "time": TIME, "previous": A, "write_id": "0f" * 16}
    return {**said, "changes": list(changes), **others}


REMOVED = {"kind": "base-removed", "name": "x"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
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
    change = {**dataclasses.asdict(version_added()), "kind": "version-added", field: value}
    try:
        data = sealed(fields_of(change))
    except InvalidArgument:
        return
    with pytest.raises(RegistryError):
        events.decode(data, "it")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", 0),
        ("sequence", True),
        ("sequence", 10**9),
        ("time", "2026-01-02T03:04:05Z"),
        ("time", "2026-13-02T03:04:05.000006Z"),
        ("previous", None),
        ("previous", "A" * 64),
        ("previous", 5),
        ("write_id", "0f"),
        ("write_id", None),
    ],
)
def test_bad_fields_of_an_event_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument):
        dataclasses.replace(event(note()), **{field: value})
    assert events.decode(sealed(fields_of(REMOVED)), "it").sequence == 2
    with pytest.raises(RegistryError):
        events.decode(sealed(fields_of(REMOVED, **{field: value})), "it")


def test_an_event_has_a_number_of_changes() -> None:
    for changes in ((), (note(),) * (MAX_CHANGES + 1)):
        with pytest.raises(InvalidArgument, match="1 to 1000"):
            event(*changes)
    assert len(event(*[note()] * MAX_CHANGES).changes) == MAX_CHANGES


def test_only_the_first_event_has_none_before_it() -> None:
    with pytest.raises(InvalidArgument, match="previous"):
        dataclasses.replace(event(note()), sequence=1)
    first = dataclasses.replace(event(note()), sequence=1, previous=None)
    assert events.decode(events.encode(first), "it") == first


def test_bad_base_fields() -> None:
    for change in ({"format": "gguf"}, {"link": "relative"}, {"link": ""}):
        with pytest.raises(InvalidArgument):
            dataclasses.replace(base_added(), **change)
    for link in (None, "C:\\models\\sd15.ckpt"):
        assert dataclasses.replace(base_added(), link=link).link == link


def test_the_largest_entries_can_be_encoded() -> None:
    """A comma weighs most in a JSON text, a character beyond the first plane is longest."""
    for sign in (",", "\U0001f415"):
        text = sign * (event_fields.MAX_ENTRIES - 1)
        change = MetadataSet(model="m", number=1, entries={"a": text})
        assert events.decode(events.encode(event(change)), "it") == event(change)
        with pytest.raises(InvalidArgument):
            dataclasses.replace(change, entries={"a": text + sign})


def test_what_a_newer_version_wrote() -> None:
    for fields in (
        fields_of({"kind": "version-frozen"}),
        fields_of({**REMOVED, "why": "?"}),
        fields_of(REMOVED, author="?"),
    ):
        with pytest.raises(RegistryError, match="newer version"):
            events.decode(sealed(fields), "it")


@pytest.mark.parametrize(
    "value",
    [[], None, {}, fields_of(), {"changes": 5}, {"changes": [5]}, fields_of({}), 1.5, "x" * 200],
)
def test_what_is_no_event(value: Any) -> None:
    for data in (canonical.encode(value), sealed(value) if isinstance(value, dict) else b""):
        with pytest.raises(RegistryError):
            events.decode(data, "it")


def test_a_missing_field() -> None:
    with pytest.raises(RegistryError, match="lacks the field 'name'"):
        events.decode(sealed(fields_of({"kind": "base-removed"})), "it")
    fields = fields_of(REMOVED)
    del fields["write_id"]
    with pytest.raises(RegistryError, match="lacks the field 'write_id'"):
        events.decode(sealed(fields), "it")


@pytest.fixture
def log(registry: RegistryFolder) -> EventLog:
    return EventLog(registry)


def fill(log: EventLog, count: int) -> list[Position]:
    """Events of one note each; their positions, with the one before the first."""
    positions = [START]
    for number in range(1, count + 1):
        positions.append(log.append(positions[-1], TIME, [note(f"text {number}")]))
    return positions


def numbers(log: EventLog, last: Position = START) -> list[int]:
    return [event.sequence for _, event in log.after(last)]


def paths(registry: RegistryFolder) -> list[Path]:
    return sorted(registry.events.glob("*/*"))


def test_append_and_iterate(log: EventLog, registry: RegistryFolder) -> None:
    assert list(log.after()) == []
    assert not log.pending(0)
    start, first, second, third = fill(log, 3)
    assert [event.changes for _, event in log.after()] == [(note(f"text {n}"),) for n in (1, 2, 3)]
    assert [position for position, _ in log.after(start)] == [first, second, third]
    assert numbers(log, second) == [3]
    assert numbers(log, third) == []
    assert log.pending(2)
    assert not log.pending(3)
    path = registry.events / "000000" / "000000003.json"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == third.sha256
    assert log.has(third) and not log.has(third._replace(sha256=A)) and not log.has(Position(4, A))
    assert not os.access(path, os.W_OK) or os.geteuid() == 0
    assert list(registry.tmp.iterdir()) == []


def test_the_log_is_a_chain(log: EventLog, registry: RegistryFolder) -> None:
    """Computed from the files alone: each names the SHA-256 of the one before it."""
    fill(log, 4)
    said = [json.loads(path.read_bytes())["previous"] for path in paths(registry)]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths(registry)]
    assert said == [None, *digests[:-1]]
    assert len({json.loads(path.read_bytes())["write_id"] for path in paths(registry)}) == 4


def test_another_event_in_the_chain(log: EventLog, registry: RegistryFolder) -> None:
    """It has a number and a checksum that are right: the chain alone shows it."""
    positions = fill(log, 4)
    path = paths(registry)[1]
    path.chmod(0o644)
    fields = json.loads(path.read_bytes())
    del fields["xxh3"]
    fields["changes"][0]["text"] = "another"
    path.write_bytes(sealed(fields))
    with pytest.raises(RegistryError, match=r"000000003\.json breaks the chain"):
        numbers(log)
    with pytest.raises(RegistryError, match="breaks the chain"):
        numbers(log, Position(1, B))
    assert numbers(log, positions[2]) == [3, 4]  # what came after the true event 2
    assert not log.has(positions[2])
    (found,) = damaged_events(registry, positions[4])
    assert (found.sequence, found.place, found.sha256) == (2, str(path), positions[2].sha256)


def test_shards_hold_a_thousand(log: EventLog, registry: RegistryFolder) -> None:
    last = before = Position(997, A)
    for _ in range(4):
        last = log.append(last, TIME, [note()])
    assert numbers(log, before) == [998, 999, 1000, 1001]
    assert sorted(path.name for path in registry.events.iterdir()) == ["000000", "000001"]
    assert log.pending(999)
    Path(log.place(999)).unlink()
    ((at_998, _),) = itertools.islice(log.after(before), 1)
    for start in (at_998, before):
        with pytest.raises(RegistryError, match="event 999 is missing"):
            numbers(log, start)


def test_a_gap_names_the_missing_number(log: EventLog, registry: RegistryFolder) -> None:
    positions = fill(log, 5)
    paths(registry)[2].unlink()
    with pytest.raises(RegistryError, match="event 3 is missing"):
        numbers(log)
    assert numbers(log, positions[3]) == [4, 5]
    (found,) = damaged_events(registry, START)
    assert (found.sequence, found.sha256) == (3, positions[3].sha256)


def test_every_flipped_bit_is_found(log: EventLog, registry: RegistryFolder) -> None:
    """Also where no event comes after it."""
    _, position = fill(log, 1)
    path = paths(registry)[0]
    data = path.read_bytes()
    path.chmod(0o644)
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(RegistryError, match="damaged"):
            numbers(log)
        assert damaged_events(registry, position)[0].sha256 == position.sha256
        assert damaged_events(registry, START)[0].sha256 is None


def test_damage_is_found_from_the_end(log: EventLog, registry: RegistryFolder) -> None:
    """An event that is damaged tells nothing of the one before it: that is found when it is restored."""
    positions = fill(log, 5)
    good = {number: path.read_bytes() for number, path in enumerate(paths(registry), 1)}
    for number in (2, 3, 5):
        Path(log.place(number)).unlink()
    Path(log.place(2)).write_bytes(good[2].replace(b"text 2", b"text 9"))
    found = damaged_events(registry, positions[5])
    assert [(one.sequence, one.sha256) for one in found] == [
        (2, None), (3, positions[3].sha256), (5, positions[5].sha256),
    ]  # fmt: skip
    with pytest.raises(RegistryError, match="not the event"):
        restore_event(registry, found[1], good[2])
    restore_event(registry, found[1], good[3])
    found = damaged_events(registry, positions[5])
    assert [(one.sequence, one.sha256) for one in found] == [
        (2, positions[2].sha256), (5, positions[5].sha256),
    ]  # fmt: skip
    for one in found:
        restore_event(registry, one, good[one.sequence])
    assert numbers(log) == [1, 2, 3, 4, 5]


def test_a_number_is_given_once(log: EventLog, registry: RegistryFolder) -> None:
    _, first = fill(log, 1)
    data = paths(registry)[0].read_bytes()
    with pytest.raises(RegistryError, match="event 1 is in"):
        log.append(START, TIME, [note("other")])
    assert paths(registry)[0].read_bytes() == data
    assert log.append(first, TIME, [note("other")]).sequence == 2


def test_a_writer_knows_its_own_event(
    log: EventLog, registry: RegistryFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does it: the link is made, its answer is lost, and the one sent again finds it there.

    Seen to fail with the comparison taken out of `append`.
    """
    link = disk.link

    def twice(path: Path, target: Path) -> None:
        link(path, target)
        link(path, target)

    monkeypatch.setattr(disk, "link", twice)
    (_, first) = fill(log, 1)
    assert [position for position, _ in log.after()] == [first]
    assert list(registry.tmp.iterdir()) == []


def test_sixteen_writers_of_one_number(registry: RegistryFolder) -> None:
    """One makes the commit, whoever it is; the others are told, and no two events are one."""
    barrier = threading.Barrier(16)

    def write(number: int) -> str | None:
        barrier.wait()
        try:
            return EventLog(registry).append(START, TIME, [note(str(number))]).sha256
        except RegistryError:
            return None

    with ThreadPoolExecutor(16) as pool:
        written = [sha256 for sha256 in pool.map(write, range(16)) if sha256 is not None]
    (path,) = paths(registry)
    assert written == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert list(registry.tmp.iterdir()) == []


def test_files_that_do_not_belong(log: EventLog, registry: RegistryFolder) -> None:
    fill(log, 1)
    path = paths(registry)[0]
    (path.parent / ".DS_Store").write_bytes(b"")
    assert numbers(log) == [1]
    (path.parent / (path.stem + " (conflicted copy).json")).write_bytes(b"")
    with pytest.raises(RegistryError, match="does not belong"):
        numbers(log)


def test_an_empty_key_of_a_folder_is_passed_over(log: EventLog, registry: RegistryFolder) -> None:
    """Consoles of buckets write one for each folder, and a copy of the bucket may have it as a file."""
    fill(log, 1)
    (paths(registry)[0].parent.parent / "000001").write_bytes(b"")
    assert numbers(log) == [1]


def test_an_event_under_another_number(log: EventLog, registry: RegistryFolder) -> None:
    fill(log, 2)
    paths(registry)[1].rename(paths(registry)[0])
    with pytest.raises(RegistryError, match="contains the event 2"):
        numbers(log)


def test_links_are_not_followed(log: EventLog, registry: RegistryFolder, tmp_path: Path) -> None:
    _, first = fill(log, 1)
    path = paths(registry)[0]
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    with pytest.raises(RegistryError, match="not a plain file"):
        numbers(log)
    assert not log.has(first)
    path.parent.rename(tmp_path / "shard")
    path.parent.symlink_to(tmp_path / "shard")
    with pytest.raises(RegistryError, match="symbolic link"):
        numbers(log)
    assert not log.has(first)
