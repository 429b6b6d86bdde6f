from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dsvd_registry.errors import InvalidArgument, RegistryError, StorageError
from dsvd_registry.hashing import sha256
from dsvd_registry.store import ObjectStore, RegistryFolder, StoredObject

ROOT = Path(__file__).parents[2]
DATA = b"some bytes" * 1000
NAME = sha256(DATA)


@pytest.fixture
def store(registry: RegistryFolder) -> ObjectStore:
    return ObjectStore(registry)


def test_put_and_read(store: ObjectStore, registry: RegistryFolder, tmp_path: Path) -> None:
    assert not store.contains(NAME)
    assert store.put(DATA) == StoredObject(NAME, len(DATA))
    path = store.local_file(NAME)
    assert path == registry.objects / NAME[:2] / NAME
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) & 0o222 == 0
    assert store.contains(NAME)
    store.check(NAME)
    assert store.leftovers() == []

    (tmp_path / "file").write_bytes(b"x" * 5_000_000)
    stored = store.put_file(tmp_path / "file")
    assert store.local_file(stored.sha256).read_bytes() == b"x" * 5_000_000
    assert {(one.sha256, one.size) for one in store.all()} == {
        (NAME, len(DATA)),
        (stored.sha256, 5_000_000),
    }


def test_the_same_bytes_are_kept_once_and_renewed(store: ObjectStore) -> None:
    store.put(DATA)
    path = store.local_file(NAME)
    inode = path.stat().st_ino
    os.utime(path, (1000, 1000))
    assert [one.mtime for one in store.all()] == [1000]
    with store.new_object() as writer:
        for start in range(0, len(DATA), 7):
            writer.write(memoryview(DATA)[start : start + 7])
        assert writer.commit() == StoredObject(NAME, len(DATA))
    assert path.stat().st_ino == inode
    assert path.stat().st_mtime > 1_000_000
    assert store.leftovers() == []


def test_damage_is_found_and_a_short_object_is_repaired(store: ObjectStore) -> None:
    store.put(DATA)
    path = store.local_file(NAME)
    path.chmod(0o644)
    path.write_bytes(b"X" + DATA[1:])
    with pytest.raises(RegistryError, match="damaged"):
        store.check(NAME)
    path.write_bytes(DATA[:-1])
    store.put(DATA)
    store.check(NAME)


def test_missing_objects(store: ObjectStore) -> None:
    for call in (store.local_file, store.check):
        with pytest.raises(RegistryError, match="missing"):
            call(NAME)
    store.put(DATA)
    store.remove(NAME)
    store.remove(NAME)
    assert not store.contains(NAME)


@pytest.mark.parametrize("name", ["", "ab", NAME.upper(), NAME + "\n", "../" + NAME[3:]])
def test_names_that_are_no_digests(store: ObjectStore, name: str) -> None:
    for call in (store.local_file, store.contains, store.check, store.remove):
        with pytest.raises(InvalidArgument):
            call(name)


def test_without_commit_nothing_is_left(store: ObjectStore) -> None:
    with store.new_object() as writer:
        writer.write(DATA)
    assert list(store.all()) == []
    assert store.leftovers() == []


def test_a_link_planted_as_an_object(store: ObjectStore, tmp_path: Path) -> None:
    store.put(DATA)
    path = store.local_file(NAME)
    path.unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    path.symlink_to(secret)
    for call in (
        store.local_file,
        store.check,
        store.contains,
        store.remove,
        lambda _: store.put(DATA),
    ):
        with pytest.raises(RegistryError, match="not a plain file"):
            call(NAME)
    assert list(store.all()) == []
    assert secret.read_bytes() == DATA


def test_a_link_planted_as_a_shard(
    store: ObjectStore, registry: RegistryFolder, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / NAME).write_bytes(DATA)
    (registry.objects / NAME[:2]).symlink_to(elsewhere)
    for call in (store.local_file, store.contains, store.remove, lambda _: store.put(DATA)):
        with pytest.raises(RegistryError, match="symbolic link"):
            call(NAME)
    assert list(store.all()) == []
    assert [path.name for path in elsewhere.iterdir()] == [NAME]


def test_foreign_files_are_no_objects(store: ObjectStore, registry: RegistryFolder) -> None:
    store.put(DATA)
    (registry.objects / "README").write_bytes(b"")
    (registry.objects / NAME[:2] / ".DS_Store").write_bytes(b"")
    other = "00" if NAME[:2] != "00" else "11"
    (registry.objects / other).mkdir()
    (registry.objects / other / NAME).write_bytes(DATA)
    assert [one.sha256 for one in store.all()] == [NAME]


def test_scratch_files_go_away(store: ObjectStore) -> None:
    with store.scratch() as file:
        file.write(b"abc")
        file.seek(0)
        assert file.read() == b"abc"
        assert len(store.leftovers()) == 1
    assert store.leftovers() == []


def test_a_copy_without_empty_folders_works(store: ObjectStore, registry: RegistryFolder) -> None:
    registry.tmp.rmdir()
    registry.objects.rmdir()
    assert list(store.all()) == []
    assert store.leftovers() == []
    store.put(DATA)
    store.check(NAME)


def test_a_source_that_cannot_be_read(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        store.put_file(tmp_path / "missing")
    assert store.leftovers() == []


def test_a_killed_writer_leaves_a_temporary_file_alone(
    store: ObjectStore, registry: RegistryFolder
) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from dsvd_registry.store import ObjectStore, RegistryFolder\n"
        "with ObjectStore(RegistryFolder(Path(sys.argv[1]))).new_object() as writer:\n"
        "    writer.write(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(registry.root)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(store.all()) == []
    assert len(store.leftovers()) == 1
