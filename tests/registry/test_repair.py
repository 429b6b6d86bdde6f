"""`repair`: what can be restored is, by SHA-256 alone; the rest is set aside, and hits nothing else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument, RegistryError, StorageError
from dsvd_registry.hashing import sha256_file
from dsvd_registry.registry.upkeep.references import files_of_folders, referenced_objects
from dsvd_registry.store import registry_folder

from . import mixed
from .conftest import files_in, flip, object_path, replace_bytes
from .mixed import HITS, KINDS, VERSIONS, Mixed

Lose = Callable[[Path], None]
LOSSES: dict[str, Lose] = {
    "flipped": flip,
    "cut": lambda path: replace_bytes(path, path.read_bytes()[:-1]),
    "missing": Path.unlink,
}
# Where good bytes are: a file or a folder that was put in, what was exported, or nothing at all.
GOOD = {
    "container": "exported.dsvd",
    "base": "file.safetensors",
    "signature": "exported.dsvd.sig",
    "attachment": "preview.png",
    "listing": "tree",
    "file of a base": "tree",
    "residual": "other.dsvdr",
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    return mixed.make(tmp_path_factory.mktemp("mixed"))


@pytest.fixture
def there(template: Mixed, tmp_path: Path) -> Mixed:
    return template.copied(tmp_path)


def lost_object(there: Mixed, kind: str, lose: Lose = flip) -> Path:
    """One object of this kind, damaged now."""
    with Registry.open(there.root) as registry:
        path = there.object(registry, kind)
    lose(path)
    return path


def assert_others_work(there: Mixed, hit: set[str], out: Path) -> None:
    """Every version but those of `hit` is well, and gives its checkpoint."""
    with Registry.open(there.root) as registry:
        for ref in sorted(set(VERSIONS) - hit):
            assert registry.verify(ref, deep=True).is_well, ref
            registry.materialize(ref, out / ref)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_good_bytes_are_taken(there: Mixed, kind: str, loss: str) -> None:
    path = lost_object(there, kind, LOSSES[loss])
    sources = [there.source(GOOD[kind])] if kind in GOOD else []
    done = Registry.repair(there.root, sources=sources, deep=True)
    assert done.is_well and done.verified.deep and done.lost == () and done.catalog is None
    (restored,) = done.restored
    assert restored.sha256 == path.name == sha256_file(path)
    assert set(restored.subjects) == HITS[kind]
    assert not os.access(path, os.W_OK) or path.stat().st_mode & 0o222 == 0
    assert not (there.root / "quarantine").exists()
    assert Registry.repair(there.root).restored == ()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", GOOD)
def test_what_is_lost_is_set_aside_and_named(
    there: Mixed, tmp_path: Path, kind: str, loss: str
) -> None:
    path = lost_object(there, kind, LOSSES[loss])
    damaged = path.read_bytes() if path.exists() else None
    done = Registry.repair(there.root)
    assert not done.is_well and done.restored == ()
    (lost,) = done.lost
    assert (lost.sha256, lost.what, set(lost.subjects)) == (path.name, kind, HITS[kind])
    assert {name for found in done.verified.findings for name in found.subjects} == HITS[kind]
    assert not path.exists()
    if damaged is None:
        assert lost.quarantined is None and not (there.root / "quarantine").exists()
    else:
        assert lost.quarantined == str(there.root / "quarantine" / path.name)
        assert Path(lost.quarantined).read_bytes() == damaged
    assert_others_work(there, HITS[kind], tmp_path)


@pytest.mark.parametrize("kind", GOOD)
def test_an_object_that_is_there_by_name_alone_is_no_source(there: Mixed, kind: str) -> None:
    """Only SHA-256 counts. Seen to fail (bytes under another name taken in) with files matched by name;
    nor could they get that name: the store calls what it is given by its own SHA-256.
    """
    path = lost_object(there, kind, flip)
    before = files_in(there.root / "objects").keys()
    forged = there.place / "forged" / path.name
    forged.parent.mkdir()
    forged.write_bytes(path.read_bytes())
    done = Registry.repair(there.root, sources=[forged.parent, forged])
    assert done.restored == () and [lost.sha256 for lost in done.lost] == [path.name]
    assert before - files_in(there.root / "objects").keys() == {f"{path.parent.name}/{path.name}"}
    assert files_in(there.root / "objects").keys() < before


def test_from_another_copy_of_the_registry(there: Mixed, template: Mixed) -> None:
    """All at once: every object, from the objects of a copy."""
    paths = sorted(path for path in (there.root / "objects").rglob("*") if path.is_file())
    for path in paths:
        flip(path)
    done = Registry.repair(there.root, sources=[template.root / "objects"], deep=True)
    assert done.is_well
    assert {one.sha256 for one in done.restored} == {path.name for path in paths}


def test_from_the_file_of_a_linked_base(there: Mixed) -> None:
    """The files of a linked base are searched without being named."""
    with Registry.open(there.root) as registry:
        linked = there.source("link.safetensors")
        registry.add(linked, base="file", name="as-it-is", tau=0.5)
        registry.remove_version("linked")
        registry.remove_base("link")
        registry.add_base("link", linked)
        path = object_path(there.root, registry.base("link").file)
        tree = there.place / "more"
        tree.mkdir()
        (tree / "config.json").write_text("{}")
        shutil.copy(there.source("file.safetensors"), tree / "model.safetensors")
        shutil.copy(linked, tree / "model.fp16.safetensors")
        registry.add_base("both", tree, link=True)
    flip(path)
    done = Registry.repair(there.root)
    assert done.is_well
    assert [one.origin for one in done.restored] == [str(tree / "model.fp16.safetensors")]


def test_a_listing_tells_of_its_files(there: Mixed) -> None:
    """The listing and all the files of a folder that is a base, lost together, come back together."""
    for kind in ("listing", "file of a base", "manifest of a folder"):
        with Registry.open(there.root) as registry:
            listing = there.object(registry, "listing")
        if kind != "listing":
            continue
        files = [path for path in (there.root / "objects").rglob("*") if path.is_file()]
        own = {sha256_file(path) for path in there.source("tree").iterdir()}
        for path in files:
            if path.name in own:
                flip(path)
        flip(listing)
    done = Registry.repair(there.root, sources=[there.source("tree")])
    assert done.is_well
    assert {one.what for one in done.restored} == {"listing", "file of a base"}
    assert len(done.restored) == 3


@pytest.mark.parametrize("kind", ["container", "base", "listing", "file of a base", "signature"])
def test_adding_again_brings_it_back(there: Mixed, kind: str) -> None:
    """After `repair` set it aside, the same bytes by the ordinary way: import, base add."""
    path = lost_object(there, kind)
    assert not Registry.repair(there.root).is_well
    with Registry.open(there.root) as registry:
        if kind in ("container", "signature"):
            registry.import_container(there.source("exported.dsvd"), name="subject")
        elif kind == "base":
            registry.add_base("file", there.source("file.safetensors"))
        else:
            registry.add_base("tree", there.source("tree"))
        assert path.is_file()
        assert registry.verify(deep=True).is_well
        assert [version.ref for version in registry.versions()] == list(VERSIONS)


def test_adding_the_fine_tune_again_brings_the_container_back(there: Mixed) -> None:
    path = lost_object(there, "container")
    assert not Registry.repair(there.root).is_well
    with Registry.open(there.root) as registry:
        source = there.source("file-tuned.safetensors")
        added = registry.add(source, base="file", name="subject", tau=0.8)
        assert path.is_file() and not added.created
        assert registry.verify(deep=True).is_well


def test_a_quarantine_is_left_alone(there: Mixed) -> None:
    """gc takes nothing of it, du counts it, a second damaged copy gets a name of its own."""
    path = lost_object(there, "container")
    size = path.stat().st_size
    (first,) = Registry.repair(there.root).lost
    with Registry.open(there.root) as registry:
        registry.import_container(there.source("exported.dsvd"), name="subject")
        flip(path, 7)
    (second,) = Registry.repair(there.root).lost
    assert first.quarantined and second.quarantined
    assert Path(second.quarantined).name == f"{path.name}.1"
    assert Registry.repair(there.root).lost[0].quarantined == second.quarantined  # missing by now
    with Registry.open(there.root) as registry:
        before = files_in(there.root / "quarantine")
        assert len(before) == 2
        registry.collect_garbage(grace_days=0)
        assert files_in(there.root / "quarantine") == before
        assert registry.usage().quarantined == 2 * size


def test_good_bytes_that_were_set_aside_by_a_race_are_found(there: Mixed) -> None:
    path = lost_object(there, "container", lambda _: None)
    (there.root / "quarantine").mkdir()
    path.rename(there.root / "quarantine" / path.name)
    assert Registry.repair(there.root).is_well


@pytest.mark.parametrize("what", ["link", "folder"])
def test_what_is_no_file_is_moved_out_of_the_way(there: Mixed, what: str) -> None:
    path = lost_object(there, "base", Path.unlink)
    if what == "link":
        path.symlink_to(there.source("file.safetensors"))
    else:
        path.mkdir()
    done = Registry.repair(there.root, sources=[there.source("file.safetensors")])
    assert done.is_well and not path.is_symlink() and path.is_file()
    aside = there.root / "quarantine" / path.name
    assert aside.is_symlink() if what == "link" else aside.is_dir()


def test_a_folder_of_objects_that_is_a_link(there: Mixed, tmp_path: Path) -> None:
    """It is neither followed nor moved; the finding says what to do."""
    path = lost_object(there, "container", lambda _: None)
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    done = Registry.repair(there.root, sources=[there.source("exported.dsvd")])
    assert not done.is_well
    assert "symbolic link" in done.lost[0].problem and done.lost[0].quarantined is None
    assert (tmp_path / "elsewhere" / path.name).is_file()


def test_another_program_was_faster(there: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object put right between the look and the move stays. Seen to fail without the comparison."""
    from dsvd_registry.store.damage import Examined, Quarantine

    path = lost_object(there, "container")
    set_aside = Quarantine.set_aside

    def late(quarantine: Quarantine, found: Examined) -> str | None:
        if path.is_file() and sha256_file(path) != path.name:
            path.unlink()
            shutil.copy(there.source("exported.dsvd"), path)
        return set_aside(quarantine, found)

    monkeypatch.setattr(Quarantine, "set_aside", late)
    done = Registry.repair(there.root)
    assert done.is_well and done.lost == ()
    assert path.is_file()


ROWS = {
    "note": "UPDATE versions SET note = 'x' WHERE number = 2",
    "container": f"UPDATE versions SET container = '{'0' * 64}' WHERE number = 2",
    "gone": "DELETE FROM tags",
    "more": "INSERT INTO tags SELECT id, 'x', 'x' FROM versions",
    "blob": "UPDATE versions SET container = CAST(container AS BLOB)",
    "time": "UPDATE versions SET added = 'yesterday'",
    "summary": "UPDATE versions SET summary = '{'",
}


@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_differ_from_the_events(there: Mixed, rows: str) -> None:
    """Seen to fail before verify compared the rows, all of them."""
    with closing(sqlite3.connect(there.root / "catalog.sqlite")) as database:
        database.execute(ROWS[rows])
        database.commit()
    with Registry.open(there.root) as registry:
        (finding,) = registry.verify().findings
    assert finding.subjects == ("catalog",)
    done = Registry.repair(there.root)
    assert done.is_well and done.catalog is not None and done.catalog.versions == len(VERSIONS)
    assert Registry.repair(there.root).catalog is None


def test_a_catalog_that_cannot_be_opened(there: Mixed) -> None:
    (there.root / "catalog.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(RegistryError):
        Registry.open(there.root)
    path = lost_object_of(there, "manifest")
    done = Registry.repair(there.root)
    assert done.is_well and [one.sha256 for one in done.restored] == [path.name]
    assert done.catalog is not None
    assert done.catalog.set_aside == there.root / "catalog.sqlite.damaged-1"


def lost_object_of(there: Mixed, what: str) -> Path:
    """A damaged object, found without a catalog: the first that looks like it."""
    assert what == "manifest"
    objects = (path for path in (there.root / "objects").rglob("*") if path.is_file())
    path = next(path for path in objects if path.read_bytes().startswith(b"DSVDBASE"))
    flip(path)
    return path


def events(there: Mixed) -> list[Path]:
    return sorted((there.root / "events").glob("*/*"))


def test_damaged_events_are_named_and_taken_from_a_copy(there: Mixed, template: Mixed) -> None:
    hit = [events(there)[4], events(there)[7]]
    for path in hit:
        flip(path, 9)
    damaged = [path.read_bytes() for path in hit]
    done = Registry.repair(there.root)
    assert not done.is_well and done.catalog is None
    assert [found.subjects for found in done.verified.findings] == [("event log",)] * 2
    for path, found in zip(hit, done.verified.findings, strict=True):
        assert str(path) in found.problem and "from a copy of the registry" in found.problem
    assert [path.read_bytes() for path in hit] == damaged  # nothing was made up
    done = Registry.repair(there.root, sources=[template.root / "events"])
    assert done.is_well
    assert [one.what for one in done.restored] == ["event 5", "event 8"]
    assert all(path.stat().st_mode & 0o222 == 0 for path in hit)


def test_events_that_are_gone(there: Mixed, template: Mixed) -> None:
    """The event after it, or the catalog, says which bytes each had: they are taken from a copy.

    Without a copy the first that is missing is named, and none is made up.
    """
    good = files_in(there.root / "events")
    last = len(good)
    for number in (5, 6, last):
        (there.root / f"events/000000/{number:09}.json").unlink()
    with pytest.raises(RegistryError, match=f"differ at event {last}"):
        Registry.repair(there.root)
    done = Registry.repair(there.root, sources=[template.root / "events"])
    assert done.is_well
    assert [one.what for one in done.restored] == ["event 5", "event 6", f"event {last}"]
    assert files_in(there.root / "events") == good
    events(there)[4].unlink()
    (finding,) = Registry.repair(there.root).verified.findings
    assert "event 5 is missing" in finding.problem and "Restore" in finding.problem
    assert len(events(there)) == last - 1


def test_log_and_catalog_damaged_together(there: Mixed, template: Mixed) -> None:
    """Nothing is touched: what is left of both may be all that there is."""
    flip(events(there)[4], 9)
    (there.root / "catalog.sqlite").write_bytes(b"not a database" * 1000)
    before = files_in(there.root)
    with pytest.raises(RegistryError, match=r"event log.*is damaged") as caught:
        Registry.repair(there.root)
    assert "--from COPY" in caught.value.hint
    assert files_in(there.root) == before
    assert Registry.repair(there.root, sources=[template.root]).is_well


def test_bad_sources(there: Mixed) -> None:
    with pytest.raises(InvalidArgument, match="does not exist"):
        Registry.repair(there.root, sources=[there.place / "nothing"])
    os.mkfifo(there.place / "pipe")
    lost_object(there, "container")
    assert not Registry.repair(there.root, sources=[there.place / "pipe"]).is_well


def test_an_object_that_cannot_be_read_is_not_moved(
    there: Mixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the disk, or the user. Good bytes take its place. Seen to fail without both rules."""
    from dsvd_registry.store import folder_files

    path = lost_object(there, "container", lambda _: None)
    real = folder_files.hashing.file_chunks

    def unreadable(place: Path) -> Iterator[memoryview]:
        if place == path and path.stat().st_ino == inode:
            raise StorageError(f"{place}: Input/output error")
        return real(place)

    inode = path.stat().st_ino
    monkeypatch.setattr(folder_files.hashing, "file_chunks", unreadable)
    with Registry.open(there.root) as registry:
        from dsvd_registry.registry.upkeep.repair import repair_objects

        restored, lost = repair_objects(registry.repository, (), lambda *_: None)
        assert restored == [] and path.exists()
        assert [(one.sha256, one.quarantined) for one in lost] == [(path.name, None)]
        sources = (there.source("exported.dsvd"),)
        restored, lost = repair_objects(registry.repository, sources, lambda *_: None)
        assert lost == [] and [one.sha256 for one in restored] == [path.name]


def test_needs_are_what_gc_keeps(there: Mixed) -> None:
    """The list that repairing goes by, and the set that garbage collection asks the database for."""
    with Registry.open(there.root) as registry:
        catalog, objects = registry.repository.catalog, registry.repository.objects
        found = referenced_objects(registry.repository)
        assert found.keys() == catalog.referenced_objects() | files_of_folders(registry.repository)
        assert found.keys() == {entry.sha256 for entry in objects.all()}
        for need in found.values():
            assert need.size in (None, objects.local_file(need.sha256).stat().st_size)
    assert registry_folder.open(there.root).quarantine == there.root / "quarantine"
