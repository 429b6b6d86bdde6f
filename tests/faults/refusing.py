"""Every call of a scenario refused once: the right error, a whole registry, and it works afterwards."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from dsvd_registry.errors import StorageError
from dsvd_registry.fs import disk

from .faulty import Faults, injected
from .lost_power import State
from .recording import recording
from .scenarios import Scenario, prepare, run
from .whole import Whole, tree_of

MOST = 300  # calls of one scenario: a bound for the loop, not a limit


def refuse_each(
    scenario: Scenario, at: Path, kinds: tuple[str, ...], code: int, *, lasts: bool, hint: str
) -> tuple[int, set[str]]:
    """The number of refused calls, and the kind of a call that the command did not need.

    `lasts`: all later calls are refused, too, as by a disk that stays full.
    """
    before, after = at / "before", at / "after"
    before.mkdir()
    prepare(scenario, before)
    shutil.copytree(before, after)
    with recording(after):
        run(scenario, after)
    whole = Whole(scenario, before, after, at)
    start = State(tree_of(before), frozenset(read_only_files(before)))
    copy = at / "copy"
    copy.mkdir()
    done_without: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "sync", lambda _: None)
        patch.setattr(disk, "sync_folder", lambda _: None)
        for number in range(MOST):
            start.write(copy)
            faults = Faults(kinds, number, code, lasts=lasts, sqlite_code=sqlite3.SQLITE_FULL)
            error = None
            with injected(faults):
                try:
                    run(scenario, copy)
                except StorageError as raised:
                    error = raised
            if not faults.hit:
                assert error is None
                return number, done_without
            if error is not None:
                assert error.exit_code == 9 and hint in error.hint, (str(error), error.hint)
            else:
                done_without.add(faults.refused)
            try:
                whole.check(copy, returned=error is None, again=True, same_run=False)
            except BaseException as problem:
                problem.add_note(
                    f"{scenario.name}: call {number} was refused; it ended with {error}"
                )
                raise
    raise AssertionError("it has no end")


def read_only_files(at: Path) -> list[str]:
    return [
        path.relative_to(at).as_posix()
        for path in at.rglob("*")
        if path.is_file() and not path.stat().st_mode & 0o222
    ]
