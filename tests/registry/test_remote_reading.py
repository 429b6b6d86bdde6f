"""A registry elsewhere is read, damaged, repaired and cleaned as one in a folder, whose copy it is."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store.memory_backend import MemoryBackend, remote_home, remote_registry

from dsvd_registry import Registry
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import LowRankRecord
from dsvd_registry.errors import DsvdError, RegistryError
from dsvd_registry.progress import silent
from dsvd_registry.registry.results.base_files import base_files, open_base_file
from dsvd_registry.registry.upkeep.repair import repair
from dsvd_registry.store.objects import object_key
from dsvd_registry.store.remote_file import HEAD

from . import mixed
from .conftest import TAU, object_path
from .mixed import VERSIONS, Mixed


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    return mixed.make(tmp_path_factory.mktemp("mixed"))


def elsewhere(root: Path) -> MemoryBackend:
    """A copy of the registry in this folder."""
    backend = MemoryBackend()
    for folder in ("objects", "events"):
        for path in (root / folder).rglob("*"):
            if path.is_file():
                backend.put(path.relative_to(root).as_posix(), path.read_bytes())
    return backend


def results(registry: Registry, _: Path) -> object:
    found = {}
    for version in registry.versions():
        for file in registry.result_files(version.ref):
            with registry.open_result(version.ref, file.path) as opened:
                found[version.ref, file.path] = opened.read()
    return found


def files_of_bases(registry: Registry, _: Path) -> object:
    found = {}
    for base in registry.bases():
        for file in base_files(base, registry.repository):
            with open_base_file(base, file.path, registry.repository) as opened:
                found[base.name, file.path] = opened.read_at(0, file.size)
    return found


def attachment(registry: Registry, _: Path) -> object:
    with registry.open_attachment("subject@1", "preview.png") as file:
        return file.read(5), file.seek(2), file.read()


def original(registry: Registry, _: Path) -> object:
    with registry.open_original("other@1") as file:
        return file.read()


def tensors(registry: Registry, _: Path) -> object:
    with registry.tensors("tree") as found:
        return {name: tensor.numpy().tobytes() for name, tensor in found.items()}


def merged(registry: Registry, _: Path) -> object:
    return registry.merge([("subject@1", 0.5), ("other@1", 0.5)], name="sum").version.container


READS: dict[str, Callable[[Registry, Path], object]] = {
    "results": results,
    "files of bases": files_of_bases,
    "an attachment": attachment,
    "an original": original,
    "tensors": tensors,
    "a merge": merged,
    "in the cache": lambda r, here: r.path("subject@1", cache=here / "results").read_bytes(),
    "differences": lambda r, _: (r.diff("subject@1", "subject@2"), r.diff_base("tree")),
    "reports": lambda r, _: [r.report(ref) for ref in VERSIONS],
    "listings": lambda r, _: r.result_listings(r.versions()),
    "what a file is": lambda r, _: r.find(r.version("subject@1").source.sha256),
    "usage": lambda r, _: r.usage(),
    "verification": lambda r, _: r.verify(deep=True),
}


@pytest.mark.parametrize("what", READS)
def test_what_is_read_is_the_same(there: Mixed, tmp_path: Path, what: str) -> None:
    with (
        Registry.open(there.copied(tmp_path).root) as here,
        remote_registry(elsewhere(there.root), tmp_path) as other,
    ):
        (tmp_path / "other").mkdir()
        assert READS[what](other, tmp_path / "other") == READS[what](here, tmp_path)


def needed(container: Path, tau: float) -> int:
    """The bytes of a container that its result at `tau` is made of, by its header and frame table."""
    with Container(container) as opened:
        header, singular = opened.header, {}
        for tensor, record in enumerate(header.tensors):
            if isinstance(record, LowRankRecord):
                values = opened.table(tensor).singular_values.astype(float)
                within = values.cumsum() < tau * record.nuclear_norm
                singular[tensor] = min(int(within.sum()) + 1, record.rank)
    size, first = header.frames[0].offset, dict.fromkeys(singular, 0)
    for frame in header.frames:
        is_needed = frame.content != "components"
        for part in frame.parts if frame.content == "components" else ():
            is_needed = is_needed or first[part.tensor] < singular[part.tensor]
            first[part.tensor] += part.count
        size += frame.stored if is_needed else 0
    return size


@pytest.mark.parametrize("tau", [0.2, 0.5])
def test_a_lower_tau_fetches_its_part_alone(
    trained_registry: Registry, tmp_path: Path, tau: float
) -> None:
    """At most 1.05 times what it is made of, in few requests; and the bytes are those of a folder."""
    backend = elsewhere(trained_registry.folder)
    version = trained_registry.version("subject")
    key, container = (
        object_key(version.container),
        object_path(trained_registry.folder, version.container),
    )
    with remote_registry(backend, tmp_path) as registry:
        backend.asked.reads.clear()
        registry.materialize("subject", tmp_path / "remote", tau=tau)
        assert needed(container, tau) < 0.95 * needed(container, TAU)
        assert needed(container, TAU) == version.size
        assert backend.asked.bytes_of(key) <= 1.05 * needed(container, tau)
        assert backend.asked.requests_of(key) <= 8
    trained_registry.materialize("subject", tmp_path / "local", tau=tau)
    assert (tmp_path / "remote").read_bytes() == (tmp_path / "local").read_bytes()


def test_a_part_of_a_result_fetches_its_frames_alone(
    trained_registry: Registry, tmp_path: Path
) -> None:
    backend = elsewhere(trained_registry.folder)
    version = trained_registry.version("subject")
    key, container = (
        object_key(version.container),
        object_path(trained_registry.folder, version.container),
    )
    with Container(container) as opened:
        header = opened.header
    tensor = next(i for i, t in enumerate(header.tensors) if isinstance(t, LowRankRecord))
    name = header.tensors[tensor].name
    allowed = set(range(max(HEAD, header.frames[0].offset)))
    for frame in header.frames:
        of_it = any(part.tensor == tensor for part in frame.parts) and frame.content == "components"
        if of_it or frame.content in ("tables", "source_header"):
            allowed |= set(range(frame.offset, frame.offset + frame.stored))
    assert len(allowed) < 0.8 * version.size
    with (
        remote_registry(backend, tmp_path) as registry,
        trained_registry.tensors("subject") as local,
        registry.tensors("subject") as remote,
    ):
        assert remote[name].equal(local[name])
        with (
            registry.open_result("subject") as file,
            trained_registry.open_result("subject") as same,
        ):
            assert file.read_at(0, 1000) == same.read_at(0, 1000)
    fetched = {
        at
        for k, start, size in backend.asked.reads
        if k == key
        for at in range(start, start + size)
    }
    assert fetched and fetched <= allowed


def test_damage_gives_no_wrong_byte(there: Mixed, tmp_path: Path) -> None:
    """A bit of a container or residual is turned over far away: an error, or nothing rests on it."""
    with Registry.open(there.root) as registry:
        expected = results(registry, tmp_path)
        version = registry.version("other@1")
        assert version.residual is not None
        digests = [version.container, version.residual.sha256]
    numbers, errors = random.Random(8), 0
    for number in range(20):
        backend, key = elsewhere(there.root), object_key(digests[number % 2])
        data = bytearray(backend.read(key))
        data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
        backend.put(key, bytes(data))
        with remote_registry(backend, tmp_path / str(number)) as registry:
            try:
                with registry.open_result("other@1") as file:
                    found = file.read()
            except DsvdError:
                errors += 1
            else:
                assert isinstance(expected, dict) and found == next(
                    data for (ref, _), data in expected.items() if ref == "other@1"
                )
    assert errors > 14


def test_another_container_in_the_place_of_one(there: Mixed, tmp_path: Path) -> None:
    """It is whole, and of the same source; the event log says that it is another."""
    backend = elsewhere(there.root)
    with remote_registry(backend, tmp_path) as registry:
        one, other = registry.version("subject@1"), registry.version("subject@2")
        backend.put(object_key(one.container), backend.read(object_key(other.container)))
        for read in (registry.open_result, registry.report):
            with pytest.raises(RegistryError, match="is not the one"):
                read("subject@1")
        with pytest.raises(RegistryError, match="is not the one"):
            registry.materialize("subject@1", tmp_path / "out")
        findings = registry.verify().findings
        assert {finding.subjects for finding in findings} == {("subject@1",)}


def test_repair(there: Mixed, tmp_path: Path) -> None:
    """What is damaged is set aside under a key of the same backend; good bytes take its place."""
    backend = elsewhere(there.root)
    home = remote_home(backend, tmp_path)
    with remote_registry(backend, tmp_path) as registry:
        sha256 = registry.version("subject@1").container
    key = object_key(sha256)
    damaged = backend.read(key)[:-1]
    backend.put(key, damaged)
    backend.put("events/000000/000000002.json", b"overwritten")
    done = repair(home, None, (there.root / "events",), deep=False, signer=None, progress=silent)
    (lost,) = done.lost
    assert [one.what for one in done.restored] == ["event 2"]
    assert (lost.sha256, lost.quarantined) == (sha256, f"memory://registry/quarantine/{sha256}")
    assert backend.read(f"quarantine/{sha256}") == damaged and backend.head(key) is None
    sources = (there.source("exported.dsvd"),)
    done = repair(home, None, sources, deep=True, signer=None, progress=silent)
    assert done.is_well and [one.sha256 for one in done.restored] == [sha256]
    with remote_registry(backend, tmp_path) as registry:
        assert registry.usage().quarantined == len(damaged)
    backend.delete(key)
    backend.put(f"quarantine/{sha256}.1", there.source("exported.dsvd").read_bytes())
    assert repair(home, None, (), deep=False, signer=None, progress=silent).is_well


@pytest.mark.parametrize("hours", [-7, 7])
def test_garbage_by_the_clock_of_the_backend(there: Mixed, tmp_path: Path, hours: int) -> None:
    backend = elsewhere(there.root)
    backend.clock = 3600.0 * hours
    with remote_registry(backend, tmp_path) as registry:
        young = registry.repository.objects.put(b"of an addition under way")
        left = tmp_path / "client/tmp/.dsvd-tmp-0123456789abcdef"
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"left by a crash")
        written = left.with_name(".dsvd-tmp-fedcba9876543210")  # at this moment, by a program here
        written.touch()
        os.utime(left, (1, 1))
        done = registry.collect_garbage(grace_days=1 / 24)
        assert (done.objects, done.temporary_files, done.kept_young) == (0, 1, 1)
        backend.age(2 * 3600)
        assert registry.collect_garbage(grace_days=1 / 24).objects == 1
        assert backend.head(object_key(young.sha256)) is None
        assert not left.exists() and written.exists()
        written.unlink()
        assert registry.verify(deep=True).is_well


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    """No test leaves a file of what was fetched."""
    yield
    assert not [path for path in tmp_path.rglob("client/tmp/*") if path.exists()]
