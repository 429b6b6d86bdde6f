"""Bytes that are accounted for and given back; names, notes and tags that outlive the catalog."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, InvalidArgument, NotFound

from .conftest import TAU, Pair, files_in, object_path


@pytest.fixture
def full(registry: Registry, pair: Pair) -> Registry:
    """Models that share a container, labels of every sort, and a removed version."""
    registry.add(pair.tuned_file, base="sd15", name="twin", tau=TAU, note="a twin", tags=["b", "a"])
    registry.add(pair.tuned_file, base="sd15", name="subject", tau=0.4)
    registry.add(pair.tuned_file, base="sd15", name="subject", tau=0.3, note="the third")
    registry.add(pair.base_file, base="sd15", name="gone", tau=0.3)
    registry.add_base("tuned", pair.tuned_file)
    registry.set_alias("prod", "subject@2")
    registry.set_alias("old", "subject@1")
    registry.add_tag("subject@3", "good")
    registry.set_note("subject@1", "first 'ü'\nof all")
    registry.remove_version("gone")
    return registry


def on_disk(registry: Registry) -> int:
    return sum(map(len, files_in(registry.folder / "objects").values()))


def test_usage_adds_up_to_the_files(full: Registry, pair: Pair) -> None:
    usage = full.usage()
    assert usage.total == on_disk(full)
    models = {model.name: model for model in usage.models}
    versions = {version.ref: version for version in full.versions()}
    shared = versions["twin@1"].size
    assert models.keys() == {"subject", "twin"}
    assert models["twin"].bytes == models["twin"].shared_bytes == shared
    assert models["subject"].shared_bytes == shared
    assert models["subject"].bytes == sum(versions[f"subject@{n}"].size for n in (1, 2, 3))
    assert models["subject"].versions == 3
    assert models["subject"].source_bytes == 3 * pair.tuned_file.stat().st_size
    bases = {base.name: base for base in usage.bases}
    assert bases["sd15"].bytes == pair.base_file.stat().st_size
    assert bases["tuned"].bytes == pair.tuned_file.stat().st_size
    manifests = sum(
        object_path(full.folder, full.base(name).manifest).stat().st_size for name in bases
    )
    containers = sum(model.bytes for model in usage.models) - shared
    parts = containers + sum(base.bytes for base in usage.bases) + manifests
    assert usage.total == parts + usage.reclaimable
    assert 0 < usage.reclaimable < 20_000  # the container of the removed version


def test_gc_frees_what_was_removed(full: Registry) -> None:
    usage, before = full.usage(), files_in(full.folder / "objects")
    would = full.collect_garbage(grace_days=0, dry_run=True)
    assert would.dry_run
    assert (would.objects, would.bytes) == (1, usage.reclaimable)
    assert files_in(full.folder / "objects") == before

    young = full.collect_garbage()
    assert (young.objects, young.kept_young, young.bytes) == (0, 1, 0)
    assert files_in(full.folder / "objects") == before

    done = full.collect_garbage(grace_days=0)
    assert (done.objects, done.bytes, done.kept_young) == (1, usage.reclaimable, 0)
    assert on_disk(full) == usage.total - usage.reclaimable == full.usage().total
    assert full.usage().reclaimable == 0
    assert full.collect_garbage(grace_days=0).objects == 0
    assert full.verify(deep=True).is_well


def test_rm_then_gc(full: Registry) -> None:
    shared = full.version("twin@1").container
    full.remove_version("twin")
    assert full.collect_garbage(grace_days=0).objects == 1  # of the one that was removed before
    assert object_path(full.folder, shared).exists()  # subject@1 has it too
    with pytest.raises(Conflict, match="subject@old"):
        full.remove_version("subject@1")
    full.remove_alias("subject", "old")
    full.remove_version("subject@1")
    assert full.collect_garbage(grace_days=0).objects == 1
    assert not object_path(full.folder, shared).exists()
    full.remove_base("tuned")
    assert full.collect_garbage(grace_days=0).objects == 2  # its file and its manifest
    assert full.verify(deep=True).is_well


def test_gc_removes_old_temporary_files(full: Registry) -> None:
    old, young = (full.folder / "tmp" / f".dsvd-tmp-{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(bytes(100))
    month_ago = time.time() - 30 * 86400
    os.utime(old, (month_ago, month_ago))
    found = full.collect_garbage()
    assert (found.temporary_files, found.bytes) == (1, 100)
    assert young.exists()
    assert not old.exists()


def test_refs(full: Registry) -> None:
    for ref, expected in {
        "subject": 3,
        "subject@latest": 3,
        "subject@3": 3,
        "subject@prod": 2,
        "subject@old": 1,
    }.items():
        assert full.version(ref).number == expected
    with pytest.raises(NotFound) as caught:
        full.version("subjct")
    assert "subject" in f"{caught.value} {caught.value.hint}"
    for wrong in ("subject@4", "subject@none", "gone", "gone@1"):
        with pytest.raises(NotFound):
            full.version(wrong)
    for wrong in ("", "@", "a@b@c", "a b"):
        with pytest.raises((InvalidArgument, NotFound)):
            full.version(wrong)


def test_labels(full: Registry) -> None:
    assert full.version("subject@1").note == "first 'ü'\nof all"
    assert full.version("twin").tags == ("a", "b")
    assert [version.ref for version in full.versions(tag="good")] == ["subject@3"]
    assert [version.ref for version in full.versions("t*")] == ["twin@1"]
    assert full.remove_tag("subject@3", "good").tags == ()
    assert full.set_alias("prod", "subject@3").aliases == ("latest", "prod")
    assert full.version("subject@2").aliases == ()
    assert full.set_note("subject@3", "").note == ""


def test_history_keeps_what_was_removed(full: Registry, pair: Pair) -> None:
    (gone,) = full.history("gone")
    assert gone.removed is not None
    assert [version.number for version in full.history("subject")] == [1, 2, 3]
    full.remove_version("subject@3")
    assert full.version("subject").number == 2
    assert [version.removed is None for version in full.history("subject")] == [True, True, False]
    assert full.add(pair.tuned_file, base="sd15", name="subject", tau=0.3).ref == "subject@4"


def everything(registry: Registry) -> dict[str, object]:
    models = ("subject", "twin", "gone")
    return {
        "versions": registry.versions(),
        "bases": registry.bases(),
        "history": [registry.history(model) for model in models],
        "usage": registry.usage(),
        "reports": [registry.report(version.ref) for version in registry.versions()],
        "aliases": [registry.version(f"subject@{a}") for a in ("latest", "prod", "old")],
    }


@pytest.mark.parametrize("loss", ["deleted", "overwritten", "old"])
def test_a_lost_catalog_comes_back_whole(full: Registry, template: Path, loss: str) -> None:
    before, root = everything(full), full.folder
    full.close()
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    if loss == "overwritten":
        (root / "catalog.sqlite").write_bytes(b"no database" * 1000)
    if loss == "old":
        (root / "catalog.sqlite").write_bytes((template / "catalog.sqlite").read_bytes())
    rebuilt = Registry.rebuild_catalog(root)
    assert (rebuilt.versions, rebuilt.bases, rebuilt.aliases) == (4, 2, 2)
    with Registry.open(root) as again:
        assert everything(again) == before
        assert again.verify(deep=True).is_well


def test_a_backup_of_the_catalog(full: Registry, tmp_path: Path) -> None:
    """Row by row what is in use, what stands in the WAL too; and it can be put back."""

    def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
        with contextlib.closing(sqlite3.connect(path)) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {
                name: sorted(database.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
                for (name,) in names.fetchall()
            }

    copy = full.backup_catalog(tmp_path / "copy.sqlite")
    assert rows(copy) == rows(full.folder / "catalog.sqlite")
    with pytest.raises(Conflict):
        full.backup_catalog(copy)
    full.add_tag("subject@1", "after")
    assert rows(copy) != rows(full.folder / "catalog.sqlite")
    full.backup_catalog(copy, replace=True)
    assert rows(copy) == rows(full.folder / "catalog.sqlite")
    own = full.backup_catalog()
    assert own.parent == full.folder
    full.add_tag("subject@1", "later")
    assert full.backup_catalog() == own
    assert rows(own) == rows(full.folder / "catalog.sqlite")
    before = [(v.ref, v.tags, v.note, v.added) for v in full.versions()]
    full.close()
    for file in full.folder.glob("catalog.sqlite*"):
        if file != own:
            file.unlink()
    own.rename(full.folder / "catalog.sqlite")
    with Registry.open(full.folder) as again:
        assert [(v.ref, v.tags, v.note, v.added) for v in again.versions()] == before


def test_a_folder_that_a_writer_left_is_collected(full: Registry) -> None:
    left = full.folder / "tmp" / ".dsvd-tmp-0123456789abcdef"
    (left / "unet").mkdir(parents=True)
    (left / "unet" / "weights").write_bytes(b"half")
    assert full.collect_garbage(grace_days=0).temporary_files == 1
    assert not left.exists()
