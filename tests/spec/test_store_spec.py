"""What the text of the store's spec says, held against the code and against what is really written.

Every operation on the disk is recorded by an audit hook of the interpreter, which sees whoever makes
it. A copy of the folder taken before an operation is what a program killed there leaves behind.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import xxhash
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from safetensors.torch import save_file
from small_pictures import picture

from dsvd_registry import Registry, canonical
from dsvd_registry.catalog import metadata_edits, rebuild, replay
from dsvd_registry.catalog.errors import BUSY_SECONDS
from dsvd_registry.checkpoint import folder_listing
from dsvd_registry.errors import RegistryError
from dsvd_registry.hashing import sha256
from dsvd_registry.reconstruction.base_weights import Manifest
from dsvd_registry.registry.describing import attached_bytes, description_file
from dsvd_registry.signing import signature, statement
from dsvd_registry.store import (
    Event,
    EventLog,
    event_fields,
    event_log,
    events,
    names,
    registry_folder,
)

from .readers import SPEC
from .recording import install_hook, recording
from .test_spec_examples import number, words

ROOT = SPEC.parent
TEXT = (SPEC / "dsvd-store-v2.md").read_text()
RULES = {
    "sequence": event_fields.Sequence,
    "number": event_fields.Number,
    "size": event_fields.Size,
    "time": event_fields.Time,
    "previous": event_fields.Previous,
    "write id": event_fields.WriteId,
    "objects": event_fields.Objects,
    "digest": event_fields.Digest,
    "name": event_fields.Name,
    "alias": event_fields.Alias,
    "word": event_fields.Word,
    "format": event_fields.BaseFormat,
    "text": event_fields.Text,
    "link": event_fields.Link,
    "path": event_fields.AbsolutePath,
    "nanoseconds": event_fields.Nanoseconds,
    "mode": event_fields.Mode,
    "settings": event_fields.Settings,
    "summary": event_fields.Summary,
    "key": event_fields.Key,
    "entries": event_fields.Entries,
    "role": event_fields.AttachmentRole,
    "media type": event_fields.MediaType,
    "digests": event_fields.Digests,
}


def section(title: str) -> str:
    """A section's text, without those below it."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def block(title: str) -> str:
    found = re.search(r"```\w+\n(.*?)\n```", section(title), re.DOTALL)
    assert found is not None, title
    return found[1]


def test_kinds_and_fields() -> None:
    told: dict[str, dict[str, Any]] = {}
    for kind, field, rule, _ in rows("Kinds"):
        told.setdefault(kind.strip("`"), {})[field.strip("`")] = RULES[rule]
    assert told == {
        word: get_type_hints(kind, include_extras=True) for word, kind in events.KINDS.items()
    }
    of_event = {row[0].strip("`"): RULES.get(row[1]) for row in rows("Events")}
    hints = get_type_hints(Event, include_extras=True) | {"changes": None, "xxh3": None}
    assert of_event == hints


def test_rules() -> None:
    """Each example of a rule is a value in JSON, which the rule's check takes or refuses."""
    told = {row[0]: row[2:] for row in rows("Rules of fields")}
    assert told.keys() == RULES.keys()
    for rule, (taken, refused) in told.items():
        check = get_args(RULES[rule])[1]
        assert words(taken) and words(refused)
        assert [check.accepts(json.loads(one)) for one in words(taken)] == [True] * len(
            words(taken)
        )
        assert not any(check.accepts(json.loads(one)) for one in words(refused)), rule
    assert tuple(map(json.loads, words(told["format"][0]))) == event_fields.BASE_FORMATS
    assert tuple(map(json.loads, words(told["role"][0]))) == event_fields.ATTACHMENT_ROLES
    assert tuple(map(json.loads, words(told["media type"][0]))) == event_fields.MEDIA_TYPES
    for device in names._WINDOWS_DEVICES:
        assert re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", device)


def test_limits() -> None:
    told = {row[0]: number(row[1].split()[0]) for row in rows("Limits")}
    long = "a" * told["a name"]
    assert names.check_name("model", long) == long
    assert get_args(event_fields.Word)[1].accepts("a" * told.pop("a word"))
    assert not get_args(event_fields.Name)[1].accepts(long + "a") and told.pop("a name")
    assert signature.MAX_BYTES == canonical.MAX_SMALL
    assert told == {
        "events; sequence": event_fields.MAX_SEQUENCE,
        "versions of a model; number": event_fields.MAX_NUMBER,
        "events in one folder": event_log.SHARD,
        "changes of an event": event_fields.MAX_CHANGES,
        "objects that a change condemns": event_fields.MAX_OBJECTS,
        "`registry.json`, an event, a signature": canonical.MAX_SMALL,
        "a text": event_fields.MAX_TEXT,
        "fields of a summary": event_fields.MAX_SUMMARY,
        "keys of a version's metadata": metadata_edits.MAX_KEYS,
        "characters of a version's metadata": event_fields.MAX_ENTRIES,
        "attachments of a version": metadata_edits.MAX_ATTACHMENTS,
        "bytes of a version's attachments": metadata_edits.MAX_ATTACHED_BYTES,
        "an attached picture": attached_bytes.MAX_PICTURE,
        "pixels of an attached picture": attached_bytes.MAX_PIXELS,
        "an attached text": attached_bytes.MAX_TEXT,
        "files whose digests an event has, of each part": event_fields.MAX_DIGESTED,
        "a path among digests": event_fields.MAX_PATH,
        "files of a folder that is a base": folder_listing.MAX_FILES,
        "a path in a listing": folder_listing.MAX_PATH_BYTES,
        "waiting for the write lock": BUSY_SECONDS,
    }


def test_registry_json(tmp_path: Path) -> None:
    example = block("Layout")
    registry_folder.create(tmp_path / "made")
    assert (tmp_path / "made/registry.json").read_text() == example
    for version in (1, 3):
        other = example.replace('"version":2', f'"version":{version}')
        (tmp_path / "made/registry.json").write_text(other)
        with pytest.raises(RegistryError, match=f"registry format {version}"):
            registry_folder.open(tmp_path / "made")


def test_manifest() -> None:
    (digest,) = re.findall(r"`([0-9a-f]{64})`", section("Manifests"))
    data = bytes.fromhex(block("Manifests"))
    manifest = Manifest.from_bytes(data, "the example")
    assert manifest.digest == digest and manifest.to_bytes() == data


def test_signature() -> None:
    data = block("Signatures").encode()
    found = signature.decode(data, "the example")
    assert found.encode() == data
    found.check(found.statement, "the example")
    said = json.loads(found.statement)
    assert said["purpose"] == statement.PURPOSE
    text = " ".join(section("Signatures").split())
    told = re.search(r"A statement has the fields (.*?)\. A signature", text)
    assert told is not None and said.keys() <= set(words(told[1]))
    (event,) = [one for one in block("Example").splitlines() if "signature-added" in one]
    (change,) = json.loads(event)["changes"]
    assert change["signer"] == found.key.sha256
    assert change["signature"] == sha256(data)
    assert f"1 to {signature.MAX_SIGNATURES}," in text


def test_description() -> None:
    """The example is a header, and `MAGIC` and the ending are those of the text."""
    text = section("Descriptions")
    value = json.loads(block("Descriptions"))
    assert canonical.encode(value).decode() == block("Descriptions")
    assert (
        f"`{description_file.MAGIC.decode()}`" in text
        and f"`NAME{description_file.SUFFIX}`" in text
    )
    assert tuple(value["attachments"][0]) == description_file._FIELDS
    start = b"DSVDMETA" + len(block("Descriptions")).to_bytes(8, "little")
    data = io.BytesIO(start + block("Descriptions").encode())
    metadata, listed = description_file._header(data, Path("it"), value["container"])
    assert metadata == value["metadata"] and [one.name for one in listed] == ["note.txt"]


def test_example_of_events(tmp_path: Path) -> None:
    """The log is read as it stands, and a catalog is made of it.

    Its chain and its checksums are computed here from the lines alone, as the text says.
    """
    lines = block("Example").splitlines()
    place = registry_folder.create(tmp_path / "registry")
    previous = None
    for n, (name, line) in enumerate(zip(lines[::2], lines[1::2], strict=True), 1):
        assert name == f"events/{n // 1000:06}/{n:09}.json"
        value = json.loads(line)
        assert value["previous"] == previous
        assert value["xxh3"] == xxhash.xxh3_64_hexdigest(line[:-27].encode() + b"}")
        previous = hashlib.sha256(line.encode()).hexdigest()
        path = place.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(line.encode())
    found = [event for _, event in EventLog(place).after()]
    changes = [change for event in found for change in event.changes]
    assert {type(change) for change in changes} == set(events.KINDS.values())
    assert len(changes) > len(found)
    assert [events.encode(event).decode() for event in found] == lines[1::2]
    made = rebuild(place)
    assert (made.events, made.bases, made.models, made.versions, made.aliases) == (
        len(found), 0, 0, 0, 0,
    )  # fmt: skip
    with closing(sqlite3.connect(place.catalog)) as database:
        assert database.execute("SELECT name, last_number, latest FROM models").fetchall() == [
            ("subject", 2, None)
        ]


def test_log_cut_at_its_end(tmp_path: Path) -> None:
    """Verify and the next write say so, as "Limits" tells. Seen to fail before verify compared them."""
    save_file({"w": torch.zeros(2)}, tmp_path / "base.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("sd15", tmp_path / "base.safetensors")
        (event,) = (tmp_path / "registry/events").rglob("*.json")
        kept = event.read_bytes()
        event.unlink()
        (finding,) = registry.verify().findings
        assert "differ at event 1" in finding.problem
        with pytest.raises(RegistryError, match="differ at event 1"):
            registry.remove_base("sd15")
        event.write_bytes(kept)
        assert registry.verify().is_well


def test_tables(tmp_path: Path) -> None:
    Registry.init(tmp_path / "registry").close()
    told = {words(row[0])[0]: row[2] == "yes" for row in rows("The catalog")}
    with closing(sqlite3.connect(tmp_path / "registry/catalog.sqlite")) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert told.keys() == {name for (name,) in found}
    assert {name for name, of_log in told.items() if of_log} == {*replay.TABLES, "log_position"}


def test_marks() -> None:
    marks = re.findall(r"^\* \*\*(.*?)\*\*:", TEXT, re.MULTILINE)
    assert len(marks) == 2
    for title in ("Writing", "Reading"):
        for _, mark in rows(title):
            assert mark.startswith(tuple(marks))


def test_links() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        assert "(spec/dsvd-store-v2.md)" in text and "(SECURITY.md)" in text
    for page in (ROOT / "SECURITY.md", SPEC / "dsvd-store-v2.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).is_file(), target


@pytest.fixture(scope="module")
def _hook() -> None:
    install_hook()


TABLES_OF_STEPS = {
    "object": "Steps of an object",
    "known": "Steps of an object that is there",
    "event": "Steps of an event",
    "output": "Steps of a file outside",
}
Step = tuple[str, bool]


def expanded(cell: str) -> list[Step]:
    """The operations of a cell of the table of commands, and whether each may be left out."""
    found: list[Step] = []
    for word in words(cell):
        if word == "cache":
            found += [("lock", False), ("commit", False)]
        elif word.split()[0] in TABLES_OF_STEPS:
            table = rows(TABLES_OF_STEPS[word.split()[0]])
            found += [(words(row[0])[0], row[0].startswith("[")) for row in table]
        else:
            found.append((word, False))
    return found


def matches(steps: list[str], told: list[Step]) -> bool:
    left = list(steps)
    for name, optional in told:
        if left and left[0] == name:
            del left[0]
        elif not optional:
            return False
    return not left


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
Do = Callable[[Registry, Path], object]

COMMANDS: dict[str, Do] = {
    "`dsvd base add` of a file": lambda r, at: r.add_base("sd15", at / "base.safetensors"),
    "`dsvd base add` of it again": lambda r, at: r.add_base("sd15", at / "base.safetensors"),
    "`dsvd base add --link` of it": lambda r, at: r.add_base(
        "sd15", at / "base.safetensors", link=True
    ),
    "`dsvd add` of a new fine-tune": lambda r, at: r.add(
        at / "tuned.safetensors", base="sd15", name="one", tau=0.5
    ),
    "`dsvd add --tag --note` of it again": lambda r, at: r.add(
        at / "tuned.safetensors", base="sd15", name="one", tau=0.5, note="good", tags=["dog"]
    ),
    "`dsvd add` of it to another model": lambda r, at: r.add(
        at / "tuned.safetensors", base="sd15", name="two", tau=0.5
    ),
    "`dsvd add --lossless` of a new fine-tune": lambda r, at: r.add(
        at / "other.safetensors", base="sd15", name="whole", tau=0.5, lossless=True
    ),
    "`dsvd export -o X` of a lossless version": lambda r, at: r.export_container("whole", at / "X"),
    "`dsvd thin`": lambda r, _: r.thin("whole@1"),
    "`dsvd add --lossless` of a version that is lossy": lambda r, at: r.add(
        at / "other.safetensors", base="sd15", name="whole", tau=0.5, lossless=True
    ),
    "`dsvd add --lossless` of it to another model": lambda r, at: r.add(
        at / "other.safetensors", base="sd15", name="twice", tau=0.5, lossless=True
    ),
    "`dsvd import` of a lossless version": lambda r, at: r.import_container(
        at / "whole.dsvd", name="four"
    ),
    "`dsvd add --lossless` of a new LoRA file": lambda r, at: r.add(
        at / "lora.safetensors", base="sd15", name="lora", lossless=True
    ),
    "`dsvd export -o X` of a lossless LoRA": lambda r, at: r.export_container("lora", at / "X"),
    "`dsvd import` of a lossless LoRA": lambda r, at: r.import_container(
        at / "lora.dsvd", name="lora-again"
    ),
    "`dsvd archive` of a fine-tune": lambda r, at: archive(r, at),
    "`dsvd restore -o X` of it": lambda r, at: r.restore("mine", at / "X"),
    "`dsvd archive --link-to` of it": lambda r, at: archive(r, at, link_to=at / "mount"),
    "`dsvd pull` of a described version, or `dsvd push` from the other side": (
        lambda r, _: r.pull("studio")
    ),
    "`dsvd alias set`": lambda r, _: r.set_alias("prod", "one@1"),
    "`dsvd materialize -o X`": lambda r, at: r.materialize("one", at / "X"),
    "`dsvd verify`": lambda r, _: r.verify(deep=True),
    "`dsvd sign`": lambda r, at: r.sign("one@1", at / "key"),
    "`dsvd alias rm`": lambda r, _: r.remove_alias("one", "prod"),
    "`dsvd tag rm`": lambda r, _: r.remove_tag("one@1", "dog"),
    "`dsvd meta set`": lambda r, _: r.set_metadata("two", {"trigger": "sks dog"}),
    "`dsvd attach`": lambda r, at: r.attach("two", at / "preview.png"),
    "`dsvd export -o X` of a described version": lambda r, at: r.export_container("two", at / "X"),
    "`dsvd import` of a described version": lambda r, at: r.import_container(
        at / "two.dsvd", name="five"
    ),
    "`dsvd detach`": lambda r, _: r.detach("two", "preview.png"),
    "`dsvd meta rm`": lambda r, _: r.remove_metadata("two", "trigger"),
    "`dsvd add` of a file with a preview beside it": lambda r, at: r.add(
        at / "shown.safetensors", base="sd15", name="six", tau=0.5
    ),
    "`dsvd export -o X` of a signed version": lambda r, at: r.export_container("one", at / "X"),
    "`dsvd rm`": lambda r, _: r.remove_version("one@1"),
    "`dsvd gc` of two objects and a temporary file": lambda r, _: r.collect_garbage(grace_days=0),
    "`dsvd import` of a signed version": lambda r, at: r.import_container(
        at / "kept.dsvd", name="three"
    ),
    "`dsvd catalog rebuild`": lambda _, at: Registry.rebuild_catalog(at / "registry"),
}


def archive(registry: Registry, at: Path, **options: Any) -> None:
    registry.archive(registry.plan_archive(at / "mine", base="sd15", **options))


def prepare(command: str, registry: Registry, at: Path) -> None:
    """What a command needs that the one before it in `COMMANDS` does not leave."""
    for name in ("X", "X.sig", "X.dsvdr", "X.dsvdo", "X.dsvdm"):
        (at / name).unlink(missing_ok=True)
    if command.startswith("`dsvd add --lossless` of a version"):  # thinned, its residual is garbage
        registry.collect_garbage(grace_days=-1)
    if command == "`dsvd import` of a lossless version":
        registry.export_container("whole", at / "whole.dsvd")
        registry.remove_version("whole@1")
        registry.remove_version("twice@1")
        registry.collect_garbage(grace_days=-1)
    if command == "`dsvd import` of a lossless LoRA":
        registry.export_container("lora", at / "lora.dsvd")
        registry.remove_version("lora@1")
        registry.collect_garbage(grace_days=-1)
    if command.startswith("`dsvd archive"):
        mounted = at / "mount/checkpoints"
        for folder in (at / "mine", mounted):
            folder.mkdir(parents=True, exist_ok=True)
        for path in (at / "mine/mine.safetensors", mounted / "mine@1.safetensors"):
            shutil.copy(at / "third.safetensors", path)
    if command == "`dsvd import` of a described version":
        registry.export_container("two", at / "two.dsvd")
    if command.startswith("`dsvd pull`"):
        with Registry.init(at / "studio") as studio:
            studio.add_base("sd15", at / "base.safetensors")
            studio.add(at / "third.safetensors", base="sd15", name="pulled", tau=0.3)
            (at / "note.txt").write_text("a note")
            studio.attach("pulled", at / "note.txt")
            studio.set_metadata("pulled", {"trigger": "sks"})
        registry.add_remote("studio", at / "studio")
    if command == "`dsvd detach`":
        registry.remove_version("five@1")
    if command == "`dsvd meta rm`":
        registry.collect_garbage(grace_days=-1)
    if command == "`dsvd rm`":
        registry.remove_version("six@1")
        registry.collect_garbage(grace_days=-1)
        registry.export_container("one", at / "kept.dsvd")
    if command.startswith("`dsvd gc`"):  # removed by now, it shared the container of the other
        registry.remove_version("two@1")
        registry.add_base("sd15", at / "base.safetensors")
        (at / "registry/tmp/.dsvd-tmp-0123456789abcdef").write_bytes(b"left by a crash")


@pytest.mark.usefixtures("_hook")
def test_steps(tmp_path: Path) -> None:
    """Every command takes the steps that its row tells; killed at any, the registry is whole.

    An event has happened from the step on that gives it its name, and not before. Seen to fail
    with each sync taken out of `objects`, `EventLog.sync` and `publish`, and with the event written
    before the rows.
    """
    told = {row[0]: expanded(row[1]) for row in rows("Steps of commands")}
    assert told.keys() == COMMANDS.keys()
    torch.manual_seed(1)
    base = {"w": torch.randn(24, 16), "b": torch.randn(24), "up.weight": torch.randn(24, 16)}
    save_file(base, tmp_path / "base.safetensors")
    for name in ("tuned", "other", "third"):
        tuned = {name: w + 0.01 * torch.randn(w.shape) for name, w in base.items()}
        save_file(tuned, tmp_path / f"{name}.safetensors")
    factors = {"up.lora_A.weight": torch.randn(2, 16), "up.lora_B.weight": torch.randn(24, 2)}
    save_file(factors, tmp_path / "lora.safetensors")
    (tmp_path / "key").write_bytes(KEY)
    shown = {name: w + 0.01 * torch.randn(w.shape) for name, w in base.items()}
    save_file(shown, tmp_path / "shown.safetensors", {"ss_clip_skip": "2"})
    for name, seed in (("preview.png", 1), ("shown.png", 2)):
        (tmp_path / name).write_bytes(picture(seed=seed))
    Registry.init(tmp_path / "registry").close()
    killed = 0
    for command, do in COMMANDS.items():
        copies = tmp_path.parent / f"{tmp_path.name}-copies"
        with Registry.open(tmp_path / "registry") as registry:
            prepare(command, registry, tmp_path)
            had = happened(tmp_path / "registry")
        recorded = recording(tmp_path / "registry", copies)
        with recorded as recorder, Registry.open(tmp_path / "registry") as registry:
            recorder.on = True
            do(registry, tmp_path)
            recorder.on = False
        assert matches(recorder.steps, told[command]), (command, recorder.steps)
        for copy in copies.glob("*"):
            done = recorder.steps[: int(copy.name)]
            named = sum("/E" in step for step in done)
            check_whole(copy, had + named, (command, done))
            killed += 1
        shutil.rmtree(copies, ignore_errors=True)
    assert killed > 100


@pytest.mark.usefixtures("_hook")
def test_folder_of_a_killed_writer(tmp_path: Path) -> None:
    """A folder of events that is there, but perhaps not durable, is made durable before its first event.

    Seen to fail with that sync taken out of `append`.
    """
    save_file({"w": torch.zeros(2)}, tmp_path / "base.safetensors")
    recorded = recording(tmp_path / "registry", tmp_path / "copies")
    with recorded as recorder, Registry.init(tmp_path / "registry") as registry:
        (tmp_path / "registry/events/000000").mkdir()
        recorder.on = True
        registry.add_base("sd15", tmp_path / "base.safetensors")
        recorder.on = False
    before = recorder.steps[: recorder.steps.index("link tmp/T events/000000/E")]
    assert "sync events" in before and "mkdir events/000000" not in before


def check_whole(copy: Path, events: int, where: object) -> None:
    """The copy opens, is well, shows this many events, and gc takes all that was left in it."""
    with Registry.open(copy) as registry:
        assert happened(copy) == events, where
        registry.collect_garbage(grace_days=0)
        assert registry.verify().findings == (), where
    assert list((copy / "tmp").iterdir()) == [], where


def happened(registry: Path) -> int:
    """The number of events that the catalog shows."""
    with closing(sqlite3.connect(registry / "catalog.sqlite")) as database:
        (position,) = database.execute("SELECT position FROM log_position").fetchone()
    return int(position)


def test_folder_is_told(tmp_path: Path) -> None:
    """Whatever is in a registry that was used has its place in the layout."""
    with Registry.init(tmp_path / "registry") as registry:
        save_file({"w": torch.zeros(2)}, tmp_path / "base.safetensors")
        registry.add_base("sd15", tmp_path / "base.safetensors")
        found = {path.name for path in (tmp_path / "registry").iterdir()}
    told = re.findall(r"^ {4}(\S+?)(?:/\S*|, -wal, -shm)? {2,}", section("Layout"), re.MULTILINE)
    assert found - {"catalog.sqlite-wal", "catalog.sqlite-shm"} <= set(told)
    assert {"registry.json", "objects", "events", "tmp", "catalog.sqlite"} <= set(told)


def test_fields_are_all_written() -> None:
    """Every event and every change has all of its fields, always."""
    for line in block("Example").splitlines()[1::2]:
        value = json.loads(line)
        assert value.keys() == {row[0].strip("`") for row in rows("Events")}
        for change in value["changes"]:
            kind = events.KINDS[change.pop("kind")]
            assert change.keys() == {field.name for field in dataclasses.fields(kind)}
