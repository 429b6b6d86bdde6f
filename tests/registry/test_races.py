"""Actions of another process at the worst moment, made at exactly that moment."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.catalog import Catalog
from dsvd_registry.catalog.database import Connection
from dsvd_registry.catalog.sqlite import SqliteDatabase
from dsvd_registry.errors import Conflict, InvalidArgument, RegistryError, StorageError

from .conftest import TAU, Pair, files_in, object_path

Reuse = Callable[[Registry, Pair], None]


def test_gc_of_what_an_addition_has_just_found(
    registry: Registry, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container is there when it is looked for, and gone when it is to be referred to.

    Seen to leave a version without its container before `confirm` was asked in the transaction.
    """
    registry.remove_version("subject@1")
    original = Catalog.add_prepared

    def add_prepared(catalog: Catalog, *arguments: Any) -> object:
        registry.collect_garbage(grace_days=-1)
        return original(catalog, *arguments)

    with Registry.open(registry.folder) as other, monkeypatch.context() as patch:
        patch.setattr(Catalog, "add_prepared", add_prepared)
        with pytest.raises(RegistryError, match="missing"):
            other.add(pair.tuned_file, base="sd15", name="subject", tau=0.3)
    assert registry.verify(deep=True).is_well
    assert registry.add(pair.tuned_file, base="sd15", name="subject", tau=0.3).created


def added_again(other: Registry, pair: Pair) -> None:
    """By a whole addition: the container is found, renewed, and named by a new version."""
    assert other.add(pair.tuned_file, base="sd15", name="other", tau=TAU).created


def named_without_renewal(other: Registry, pair: Pair) -> None:
    """By an event alone, as a version of another model that shares the container makes it."""
    (removed,) = (one for one in other.history("subject") if one.number == 1)
    other.repository.catalog.add_version(
        "other", container=removed.container, size=removed.size, base=removed.base,
        source=removed.source, settings=removed.settings, summary=removed.summary,
        confirm=lambda: other.repository.objects.require(removed.container),
    )  # fmt: skip


def renewed(other: Registry, pair: Pair) -> None:
    """By a writer that has put the same bytes, and is about to write its event."""
    (removed,) = (one for one in other.history("subject") if one.number == 1)
    other.repository.objects.put(object_path(other.folder, removed.container).read_bytes())


REUSES = [added_again, named_without_renewal, renewed]


@pytest.mark.parametrize("reuse", REUSES, ids=lambda reuse: reuse.__name__)
@pytest.mark.parametrize("moment", ["marked", "condemned"])
def test_an_old_object_that_is_used_again_while_garbage_is_collected(
    registry: Registry, pair: Pair, monkeypatch: pytest.MonkeyPatch, reuse: Reuse, moment: str
) -> None:
    """It stays, and so does its version, whether the log has condemned it by then or not.

    Seen to fail: with the log not read again before the removal (named without renewal), and with
    objects removed in any state (renewed).
    """
    container = registry.version("subject@1").container
    old = object_path(registry.folder, container)
    os.utime(old, (1_000_000, 1_000_000))
    registry.remove_version("subject@1")
    condemn = Catalog.condemn_objects

    with Registry.open(registry.folder) as other, monkeypatch.context() as patch:

        def condemn_objects(catalog: Catalog, objects: Collection[str]) -> None:
            assert list(objects) == [container]
            if moment == "condemned":
                condemn(catalog, objects)
            reuse(other, pair)
            if moment == "marked":
                condemn(catalog, objects)

        patch.setattr(Catalog, "condemn_objects", condemn_objects)
        found = registry.collect_garbage(grace_days=1)
        assert (found.objects, found.bytes) == (0, 0)
    assert old.exists()
    assert registry.verify(deep=True).is_well
    if reuse is not renewed:
        assert registry.version("other").container == container


def test_what_belongs_together_is_one_event(registry: Registry, pair: Pair) -> None:
    """Read from the files of the log: a version comes with its tags, a note with tags, or not at all."""
    log = registry.folder / "events"
    before = len(list(log.rglob("*.json")))
    options = {"base": "sd15", "name": "labelled", "tau": TAU}
    registry.add(pair.tuned_file, note="good", tags=["a", "b"], **options)
    registry.add(pair.tuned_file, note="better", tags=["b", "c", "d"], **options)
    with pytest.raises(Conflict, match="differs from a in case alone"):
        registry.add(pair.tuned_file, note="best", tags=["e", "A"], **options)
    with pytest.raises(Conflict, match="differ in case alone"):
        registry.add(pair.base_file, tags=["a", "A"], **{**options, "name": "another"})
    events = sorted(log.rglob("*.json"))[before:]
    kinds = [[c["kind"] for c in json.loads(e.read_bytes())["changes"]] for e in events]
    assert kinds == [
        [
            "version-added",
            "tag-added",
            "tag-added",
            "metadata-set",
        ],  # the last from the file itself
        ["note-set", "tag-added", "tag-added"],
    ]
    version = registry.version("labelled")
    assert (version.number, version.note, version.tags) == (1, "better", ("a", "b", "c", "d"))
    assert [model.name for model in registry.repository.catalog.models()] == ["labelled", "subject"]
    assert registry.verify().is_well


def test_no_removal_comes_between_the_parts_of_an_addition(
    registry: Registry, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one removes each live version after every transaction of the catalog that adds.

    Seen to end with `NotFound`, the version added, where its residual and labels were further events.
    """
    source = tmp_path / "described.safetensors"
    source.write_bytes(pair.tuned_file.read_bytes())
    (tmp_path / "described.png").write_bytes(picture(seed=1))
    (tmp_path / "described.civitai.info").write_text('{"trainedWords": ["sks"]}')
    writing, adding = SqliteDatabase.writing, registry.repository.catalog._database

    with Registry.open(registry.folder) as other, monkeypatch.context() as patch:

        @contextlib.contextmanager
        def then_removed(database: SqliteDatabase) -> Iterator[Connection]:
            with writing(database) as connection:
                yield connection
            if database is adding:
                for version in other.versions():
                    other.remove_version(version.ref)

        patch.setattr(SqliteDatabase, "writing", then_removed)
        options = {"base": "sd15", "name": "described", "lossless": True, "tags": ["a"]}
        added = registry.add(
            source, **options, metadata={"k": "v"}, preview=tmp_path / "described.png"
        )
        assert added.created and added.version.is_lossless and added.version.tags == ("a",)
        assert other.add(source, **options).ref == "described@2"  # which nobody removes yet
        labelled = registry.add(source, **options, note="better", metadata={"k": "w"})
        assert (labelled.ref, labelled.created, labelled.version.note) == (
            "described@2",
            False,
            "better",
        )
    events = [
        [change["kind"] for change in json.loads(path.read_bytes())["changes"]]
        for path in sorted((registry.folder / "events").rglob("*.json"))[3:]
    ]
    whole = ["version-added", "tag-added", "residual-added", "metadata-set", "attachment-added"]
    assert events == [
        [*whole, "attachment-added"], ["version-removed"],
        [*whole, "attachment-added"], ["note-set", "metadata-set"], ["version-removed"],
    ]  # fmt: skip
    assert registry.verify(deep=True).is_well


def test_what_is_removed_was_condemned_in_the_log(registry: Registry, pair: Pair) -> None:
    """Read from the files of the log: the digests are those of the files that are gone."""
    registry.add(pair.tuned_file, base="sd15", name="second", tau=TAU / 2)
    for ref in ("second@1", "subject@1"):
        registry.remove_version(ref)
    before = files_in(registry.folder / "objects")
    assert registry.collect_garbage(grace_days=-1, dry_run=True).objects == 2
    assert registry.collect_garbage(grace_days=-1).objects == 2
    gone = sorted(Path(name).name for name in before.keys() - files_in(registry.folder / "objects"))
    (change,) = json.loads(max((registry.folder / "events").rglob("*.json")).read_bytes())[
        "changes"
    ]
    assert change == {"kind": "objects-condemned", "objects": gone} and len(gone) == 2
    assert registry.collect_garbage(grace_days=-1).objects == 0
    last = max((registry.folder / "events").rglob("*.json"))
    assert json.loads(last.read_bytes())["changes"] == [change]  # nothing to remove, no event


@pytest.mark.parametrize("hours", [-5, 5, 24 * 365])
def test_the_grace_time_goes_by_the_clock_of_the_store(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """The clock of the machine that collects may be off by hours: no object is older for that.

    Seen to fail with `time.time()` in the place of `ObjectStore.now`.
    """
    registry.remove_version("subject@1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
    found = registry.collect_garbage(grace_days=4 / 24)
    assert (found.objects, found.kept_young) == (0, 1)
    (young,) = (one for one in registry.repository.objects.all() if one.sha256 not in
                registry.repository.catalog.referenced_objects())  # fmt: skip
    os.utime(object_path(registry.folder, young.sha256), (now - 5 * 3600, now - 5 * 3600))
    assert registry.collect_garbage(grace_days=4 / 24).objects == 1


@pytest.mark.parametrize("what", ["base", "version"])
def test_a_file_that_changes_while_it_is_read(
    registry: Registry, pair: Pair, tmp_path: Path, what: str
) -> None:
    source = tmp_path / "changing.safetensors"
    source.write_bytes(pair.tuned_file.read_bytes())

    def change(stage: str, done: int, total: int) -> None:
        os.utime(source, ns=(done, done))

    with pytest.raises(StorageError, match="changed while"):
        if what == "base":
            registry.add_base("other", source, progress=change)
        else:
            registry.add(source, base="sd15", name="other", tau=TAU / 2, progress=change)
    assert registry.verify(deep=True).is_well


def test_a_damaged_event_is_found(registry: Registry) -> None:
    registry.set_note("subject", "irreplaceable")
    event = max((registry.folder / "events").rglob("*.json"))
    event.chmod(0o644)
    event.write_bytes(event.read_bytes().replace(b"irreplaceable", b"irreplaceabel"))
    (finding,) = registry.verify().findings
    assert finding.subjects == ("event log",)
    assert event.name in finding.problem


def test_a_linked_base_is_not_written_over(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    link = tmp_path / "linked.safetensors"
    link.write_bytes(pair.base_file.read_bytes())
    registry.add_base("sd15", link, link=True)
    with pytest.raises(Conflict, match="base"):
        registry.materialize("subject", link, replace=True)
    assert link.read_bytes() == pair.base_file.read_bytes()


def test_only_plain_files_are_written_over(registry: Registry, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidArgument, match="plain file"):
        registry.materialize("subject", pipe, replace=True)
    assert pipe.is_fifo()
