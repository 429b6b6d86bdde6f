"""Every crash of a scenario: killed before each operation, or without power at that moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsvd_registry.fs import disk

from .lost_power import Disk, State, with_catalog
from .recording import Catalog, Recording, recording
from .scenarios import Scenario, prepare, run
from .whole import Whole

WITHOUT_CATALOG = 3  # of how many moments one is tried: making all tables anew takes a while
AGAIN = 3  # of how many states one is tried: as for the command itself


@dataclass(frozen=True)
class Tried:
    """The number of operations, and of different states that a crash may leave."""

    operations: int
    states: int


def states(before: Path, made: Recording) -> Iterator[tuple[State, bool, str]]:
    """A state, whether the command had ended by then, and where it comes from."""
    model = Disk(before)
    first = made.catalogs[0]
    for number in range(len(made.operations) + 1):
        returned = number == len(made.operations)
        now, was = made.catalogs[number], made.catalogs[max(0, number - 1)]
        done = f"{number} of {len(made.operations)} operations"
        for catalog in _different(now, was):
            yield (
                with_catalog(model.killed(), catalog),
                returned and catalog is now,
                f"killed after {done}",
            )
        for state in model.states():
            for catalog in _different(now, was, first):
                yield with_catalog(state, catalog), returned, f"without power after {done}"
        if returned or number % WITHOUT_CATALOG == 0:
            yield with_catalog(model.killed(), {}), returned, f"without a catalog after {done}"
        if not returned:
            model.do(made.operations[number])


def _different(*catalogs: Catalog) -> list[Catalog]:
    found: list[Catalog] = []
    for catalog in catalogs:
        if catalog not in found:
            found.append(catalog)
    return found


def try_all(scenario: Scenario, at: Path) -> Tried:
    """Record the scenario in `at`, and check each state; of some, that the command runs again."""
    before, after = at / "before", at / "after"
    before.mkdir()
    prepare(scenario, before)
    shutil.copytree(before, after)
    with recording(after) as made:
        run(scenario, after)
    whole = Whole(scenario, before, after, at)
    seen = set()
    copy = at / "state"
    copy.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # What is done to these copies need not last.
        patch.setattr(disk, "sync", lambda _: None)
        patch.setattr(disk, "sync_folder", lambda _: None)
        for state, returned, where in states(before, made):
            key = state.key + str(returned)
            if key in seen:
                continue
            seen.add(key)
            state.write(copy)
            try:
                whole.check(copy, returned=returned, again=len(seen) % AGAIN == 0)
            except BaseException as error:
                error.add_note(f"{scenario.name}, {where}: {sorted(state.tree)}")
                raise
    return Tried(len(made.operations), len(seen))
