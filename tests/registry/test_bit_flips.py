"""One wrong bit anywhere in any file of a registry: plain `verify` sees it, and names what it hits."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.catalog import replay
from dsvd_registry.errors import DsvdError, RegistryError

from . import mixed
from .conftest import object_path, replace_bytes
from .mixed import HITS, KINDS, Mixed

PLACES = 40  # in each kind of object: 320 in all
IN_EVENTS, IN_DESCRIPTION, IN_CATALOG = 80, 40, 120


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    return mixed.make(tmp_path_factory.mktemp("mixed"))


def flipped(data: bytes, place: int) -> bytes:
    other = bytearray(data)
    other[place // 8] ^= 1 << place % 8
    return bytes(other)


def places(chance: random.Random, data: bytes, count: int) -> list[int]:
    """The first bit, the last, and others anywhere."""
    bits = 8 * len(data)
    return [0, bits - 1, *(chance.randrange(bits) for _ in range(count - 2))]


@pytest.mark.parametrize("kind", KINDS)
def test_in_an_object(there: Mixed, kind: str) -> None:
    """An object has no byte without meaning. Seen to fail without the comparison in
    `ObjectStore.check`; containers have checksums over every byte, too.
    """
    chance = random.Random(kind)
    with Registry.open(there.root) as registry:
        path = there.object(registry, kind)
        good = path.read_bytes()
        for place in places(chance, good, PLACES):
            replace_bytes(path, flipped(good, place))
            findings = registry.verify().findings
            assert {name for found in findings for name in found.subjects} == HITS[kind], place
        replace_bytes(path, good)
        assert registry.verify().is_well


def test_the_file_of_a_linked_base(there: Mixed) -> None:
    """It is no object: what counts are its tensors. A bit of its header may change nothing in them."""
    chance = random.Random("linked")
    path = there.source("link.safetensors")
    good = path.read_bytes()
    tensors = 8 + int.from_bytes(good[:8], "little")
    with Registry.open(there.root) as registry:
        for place in places(chance, good[tensors:], PLACES):
            path.write_bytes(flipped(good, 8 * tensors + place))
            (finding,) = registry.verify().findings
            assert finding.subjects == ("base link", "linked@1")
    path.write_bytes(good)


def test_in_an_event(there: Mixed) -> None:
    chance = random.Random("events")
    paths = sorted((there.root / "events").glob("*/*"))
    with Registry.open(there.root) as registry:
        for number in range(IN_EVENTS):
            path = paths[number % len(paths)]
            good = path.read_bytes()
            replace_bytes(path, flipped(good, chance.randrange(8 * len(good))))
            (finding,) = registry.verify().findings
            assert finding.subjects == ("event log",) and str(path) in finding.problem
            replace_bytes(path, good)
        assert registry.verify().is_well


def test_in_the_description(there: Mixed) -> None:
    path = there.root / "registry.json"
    good = path.read_bytes()
    chance = random.Random("description")
    for place in places(chance, good, IN_DESCRIPTION):
        path.write_bytes(flipped(good, place))
        with pytest.raises(RegistryError):
            Registry.open(there.root)
    path.write_bytes(good)


def rows(root: Path) -> list[list[str]]:
    """All that the catalog shows of the events, read by SQLite alone."""
    with closing(sqlite3.connect(root / "catalog.sqlite")) as database:
        return [sorted(map(repr, database.execute(f"SELECT * FROM {t}"))) for t in replay.TABLES]


def test_in_the_catalog(there: Mixed) -> None:
    """It is seen, or lies where it changes no row: free room, counters, the cache of what files
    outside held. What is seen is repaired. Seen to fail before verify compared rows, and read
    SQLite's own check.
    """
    chance = random.Random("catalog")
    catalog = there.root / "catalog.sqlite"
    good, shown = catalog.read_bytes(), rows(there.root)
    pages = range(0, len(good), 4096)
    seen = 0
    for number in range(IN_CATALOG):
        # Most of a page is free room at its beginning: half of the places are where cells are.
        page = chance.choice(pages)
        used = good[page : page + 4096].rstrip(b"\0")
        byte = page + chance.randrange(4096)
        if number % 2 and used:
            byte = page + 4095 - chance.randrange(400)
        for path in there.root.glob("catalog.sqlite*"):
            path.unlink()
        damaged = flipped(good, 8 * byte + chance.randrange(8))
        catalog.write_bytes(damaged)
        if was_seen(there):
            seen += 1
            for path in there.root.glob("catalog.sqlite*"):
                path.unlink()
            catalog.write_bytes(damaged)
            assert Registry.repair(there.root).is_well, byte
        assert rows(there.root) == shown, byte
    assert seen > IN_CATALOG // 8


def was_seen(there: Mixed) -> bool:
    try:
        with Registry.open(there.root) as registry:
            return not registry.verify().is_well
    except DsvdError:
        return True


def test_every_file_has_its_kind(there: Mixed) -> None:
    """No object of the registry is of a kind that is not tried above."""
    with Registry.open(there.root) as registry:
        tried = {there.object(registry, kind).name for kind in KINDS}
        others = {entry.sha256 for entry in registry.repository.objects.all()} - tried
        containers = {version.container for version in registry.versions()}
        listed = json.loads(there.object(registry, "listing").read_bytes())
        assert others <= containers | {file["sha256"] for file in listed}
        assert all(object_path(there.root, digest).is_file() for digest in others)
