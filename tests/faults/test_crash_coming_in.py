"""A crash at any moment of what takes files in: `base add`, `base rm`, `add`, `import`, `init`.

Seen to fail, each taken out of a copy of the tree: the sync of a file in `NewFile.publish`; that of
its folder there; and that of the names of new folders, in `make_folder` and `ObjectWriter.commit`
both: either of them is enough.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dsvd_registry import Registry

from .crashes import states, try_all
from .recording import recording
from .scenarios import FILES_COME_IN, SCENARIOS, STATES


@pytest.mark.parametrize("name", FILES_COME_IN)
def test_crash(tmp_path: Path, name: str) -> None:
    assert try_all(SCENARIOS[name], tmp_path).states >= STATES[name]


def test_init(tmp_path: Path) -> None:
    """A registry, or what another `init` makes one of."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    with recording(after) as made:
        Registry.init(after / "registry").close()
    seen, copy = set(), tmp_path / "copy"
    copy.mkdir()
    for state, returned, where in states(before, made):
        if state.key in seen:
            continue
        seen.add(state.key)
        state.write(copy)
        is_one = (copy / "registry/registry.json").exists()
        assert is_one or not returned, where
        with (
            Registry.open(copy / "registry")
            if is_one
            else Registry.init(copy / "registry") as registry
        ):
            assert registry.verify().is_well and not registry.versions(), where
            registry.collect_garbage(grace_days=-1)
        assert not any((copy / "registry/tmp").iterdir()), where
    assert len(seen) >= 9


def test_how_many() -> None:
    """docs/tested.md says that there are more than this."""
    assert STATES.keys() == SCENARIOS.keys()
    assert sum(STATES.values()) >= 1000
