"""Garbage collection in a bucket that other machines write to: nothing that they name is deleted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from faults.bucket_log import checked_changes, contents
from seaweed import Seaweed

from dsvd_registry import Registry
from dsvd_registry.catalog import Catalog, Source
from dsvd_registry.store import ObjectStore

Machines = tuple[Registry, Registry]


@pytest.fixture
def machines(
    bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machines]:
    """Two clients, each with a catalog of its own, of a registry with a base and no version."""
    monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "first"))
    with Registry.init(bucket_url) as first:
        objects = first.repository.objects
        file, manifest = objects.put(b"base").sha256, objects.put(b"manifest").sha256
        first.repository.catalog.add_base(
            "sd15", digest="b" * 64, manifest=manifest, file=file, size=4, format="safetensors"
        )
        monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "second"))
        with Registry.open(bucket_url) as second:
            yield first, second


def put(registry: Registry, data: bytes = b"container") -> str:
    return registry.repository.objects.put(data).sha256


def name(registry: Registry, sha256: str) -> None:
    """Add a version that has the object."""
    objects = registry.repository.objects
    registry.repository.catalog.add_version(
        "dog", container=sha256, size=9, base="b" * 64, source=Source("safetensors", sha256, 1),
        settings="{}", summary={}, confirm=lambda: objects.require(sha256),
    )  # fmt: skip


def put_and_named(registry: Registry) -> None:
    name(registry, put(registry))


def named(registry: Registry) -> None:
    name(registry, hashlib.sha256(b"container").hexdigest())


def only_put(registry: Registry) -> None:
    put(registry)


@pytest.mark.parametrize("reuse", [put_and_named, named, only_put])
@pytest.mark.parametrize("moment", ["marked", "condemned"])
def test_an_old_object_that_another_machine_uses_again(
    machines: Machines,
    monkeypatch: pytest.MonkeyPatch,
    seaweed: Seaweed,
    bucket_url: str,
    reuse: Callable[[Registry], None],
    moment: str,
) -> None:
    """Between the choice of what goes and the event that says so, and between that and the deletion.

    Seen to fail: with the log not read again (named), with objects deleted in any state (only put).
    """
    first, second = machines
    sha256, other = put(first), put(first, b"garbage")
    condemn = Catalog.condemn_objects

    def condemn_objects(catalog: Catalog, objects: Collection[str]) -> None:
        assert sorted(objects) == sorted([sha256, other])
        if moment == "condemned":
            condemn(catalog, objects)
        reuse(second)
        if moment == "marked":
            condemn(catalog, objects)

    monkeypatch.setattr(Catalog, "condemn_objects", condemn_objects)
    assert first.collect_garbage(grace_days=-1).objects == 1
    checked_changes(seaweed, bucket_url)
    there = contents(seaweed, bucket_url)
    assert f"objects/{sha256[:2]}/{sha256}" in there
    assert f"objects/{other[:2]}/{other}" not in there


def test_the_log_is_read_again_before_each_object(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, seaweed: Seaweed, bucket_url: str
) -> None:
    """Another machine names, without renewing it, what comes last, while the first of them goes."""
    first, second = machines
    garbage = sorted(put(first, b"%d" % number) for number in range(4))
    remove = ObjectStore.remove

    def removed(objects: ObjectStore, sha256: str, *state: object) -> bool:
        if sha256 == garbage[0]:
            name(second, garbage[-1])
        return remove(objects, sha256, *state)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectStore, "remove", removed)
    assert first.collect_garbage(grace_days=-1).objects == 3
    checked_changes(seaweed, bucket_url)
    assert second.version("dog").container == garbage[-1]


@pytest.mark.parametrize("hours", [-5, 5, 24 * 365])
def test_the_grace_time_goes_by_the_clock_of_the_bucket(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """The clock of the machine that collects may be off by hours: no object is older for that."""
    first, _ = machines
    put(first)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    assert first.collect_garbage(grace_days=0.1, dry_run=True).kept_young == 1
    assert first.collect_garbage(grace_days=0.1).objects == 0
    assert first.collect_garbage(grace_days=-1).objects == 1
