"""Two machines that write to one bucket in turns, each within the moment in which the other has written.

A writer that has just written an event tries its next edit without asking for the events of others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from seaweed import Seaweed
from wire import wire

from dsvd_registry import Registry
from dsvd_registry.catalog import Source
from dsvd_registry.errors import NotFound
from dsvd_registry.store import event_log

BASE = "b" * 64
NUMBERS = itertools.count(1)


@pytest.fixture
def two(
    bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Registry, Registry]]:
    monkeypatch.setattr(event_log, "LEASE", 3600.0)  # so that no slow machine outlasts it
    monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "one"))
    with Registry.init(bucket_url) as one:
        one.repository.catalog.add_base(
            "sd15", digest=BASE, manifest="1" * 64, file="2" * 64, size=4, format="safetensors"
        )
        monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "other"))
        with Registry.open(bucket_url) as other:
            yield one, other


def again(registry: Registry) -> Registry:
    """The same registry, opened again, as a command does."""
    return Registry.open(registry.repository.home.name)


def add(registry: Registry, model: str) -> str:
    digest = f"{next(NUMBERS):064x}"
    return registry.repository.catalog.add_version(
        model, container=digest, size=1, base=BASE, source=Source("safetensors", digest, 100),
        settings='{"tau":0.5}', summary={"tau": 0.5},
        digests={"source": {"": {"sha256": digest, "crc32": digest[-8:]}}},
    ).ref  # fmt: skip


def test_in_turns(two: tuple[Registry, Registry]) -> None:
    refs = [add(two[number % 2], "subject") for number in range(8)]
    assert refs == [f"subject@{number}" for number in range(1, 9)]
    with again(two[0]) as registry:
        catalog = registry.repository.catalog
        assert catalog.check_log() == catalog.position()
        assert sorted(version.ref for version in registry.versions()) == refs


def test_what_the_other_added_is_found(two: tuple[Registry, Registry]) -> None:
    one, other = two
    add(one, "mine")
    add(other, "subject")
    one.repository.catalog.set_alias("subject", "best", 1)
    with again(other) as registry:
        assert registry.version("subject@best").ref == "subject@1"


def test_what_the_other_removed_is_not_there(two: tuple[Registry, Registry]) -> None:
    one, other = two
    add(one, "subject")
    other.repository.catalog.add_tag("subject", 1, "seen")
    add(one, "mine")
    other.repository.catalog.remove_tag("subject", 1, "seen")
    other.repository.catalog.remove_version("subject", 1)
    with pytest.raises(NotFound):
        one.repository.catalog.set_alias("subject", "best", 1)


def test_what_changes_nothing_is_asked_again(two: tuple[Registry, Registry]) -> None:
    """A tag that this machine knows of was taken off by the other one: setting it is a change."""
    one, other = two
    add(one, "subject")
    one.repository.catalog.add_tag("subject", 1, "seen")
    other.repository.catalog.remove_tag("subject", 1, "seen")
    one.repository.catalog.add_tag("subject", 1, "seen")
    with again(other) as registry:
        assert registry.version("subject").tags == ("seen",)


def test_one_request_for_a_commit(
    two: tuple[Registry, Registry], seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire(seaweed.port) as counted:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{counted.port}")
        with again(two[0]) as third:
            add(third, "subject")
            before = len(counted.requests)
            add(third, "subject")
            sent = counted.requests[before:]
            add(two[1], "subject")
            assert add(third, "subject") == "subject@4"
    assert [line.split()[0] for line in sent] == ["PUT"]
