"""A registry that is not on this machine does everything that one in a folder does, with the same bytes.

Its backend is a dictionary: whatever went around the protocol would find nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.scenarios import SCENARIOS, Scenario, write_sources
from faults.whole import outside, shown, tree_of, without_times
from store.memory_backend import MemoryBackend, remote_registry

from dsvd_registry import Registry

# Those that write into the folder of the registry.
OF_A_FOLDER = {name for name in SCENARIOS if name.startswith("catalog rebuild")} | {"gc"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("sources")
    write_sources(at)
    return at


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - OF_A_FOLDER))
def test_every_command_leaves_the_same(sources: Path, tmp_path: Path, name: str) -> None:
    """The same versions, objects and files as in a folder, and a deep verification finds all well."""
    at = tmp_path / "at"  # one path for both: some of it is recorded
    left = []
    for opened in (_in_folder, _in_memory):
        shutil.copytree(sources, at)
        registry, objects = opened(at, tmp_path)
        with registry:
            left.append(_done(SCENARIOS[name], registry, at, objects))
        at.rename(tmp_path / opened.__name__)
    assert left[0] == left[1]


def _done(
    scenario: Scenario, registry: Registry, at: Path, objects: Callable[[], dict[str, bytes]]
) -> tuple[object, ...]:
    """What a scenario leaves: what the registry knows, its objects, and the files outside."""
    for step in (*scenario.before, scenario.do):
        step(registry, at)
    assert registry.verify(deep=True).findings == ()
    return without_times(shown(registry)), objects(), outside(tree_of(at))


def _in_folder(at: Path, _: Path) -> tuple[Registry, Callable[[], dict[str, bytes]]]:
    def objects() -> dict[str, bytes]:
        found = (at / "registry/objects").rglob("*")
        return {path.name: path.read_bytes() for path in found if path.is_file()}

    return Registry.init(at / "registry"), objects


def _in_memory(_: Path, here: Path) -> tuple[Registry, Callable[[], dict[str, bytes]]]:
    backend = MemoryBackend()

    def objects() -> dict[str, bytes]:
        keys = [entry.key for entry in backend.list("objects/")]
        return {key.rpartition("/")[2]: backend.read(key) for key in keys}

    return remote_registry(backend, here), objects
