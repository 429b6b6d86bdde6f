"""`dsvd` killed, or told to end, at random moments: each command that changes something.

Seen to fail, SIGKILL with the rows committed 0.1 seconds before the event was written, SIGTERM with the
removal of temporary files on leaving taken out.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from forked import start_fork_server

from .lost_power import State
from .program import start
from .refusing import read_only_files
from .scenarios import SCENARIOS, prepare
from .whole import Whole, tree_of

KILLS = 3  # of each command
LONG = ("base add", "base add of a folder", "add", "import", "materialize", "sign", "export")


@pytest.fixture(scope="module", autouse=True)
def _fork_server() -> None:
    start_fork_server()


class Run:
    """A scenario that can be begun again and again; `seconds`: how long it takes."""

    def __init__(self, name: str, at: Path) -> None:
        before, after = at / "before", at / "after"
        before.mkdir()
        prepare(SCENARIOS[name], before)
        self._words = SCENARIOS[name].words
        self._start = State(tree_of(before), frozenset(read_only_files(before)))
        for folder in (after, at / "copy"):
            folder.mkdir()
            self._start.write(folder)
        self.copy = at / "copy"
        process = start(after, self._words)
        begun = time.monotonic()
        process.join()
        assert process.exitcode == 0
        self.seconds = time.monotonic() - begun
        self.whole = Whole(SCENARIOS[name], before, after, at)

    def end(self, number: int, seconds: float) -> int | None:
        """The exit code of a process that gets a signal after a while; it may have ended by then."""
        self._start.write(self.copy)
        process = start(self.copy, self._words)
        process.join(seconds)
        if process.is_alive():
            assert process.pid is not None
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(process.pid, number)
        process.join()
        return process.exitcode


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed(tmp_path: Path, name: str) -> None:
    run = Run(name, tmp_path)
    at_random = random.Random(name)
    for _ in range(KILLS):
        exit_code = run.end(signal.SIGKILL, at_random.uniform(0, run.seconds))
        assert exit_code in (0, -signal.SIGKILL)
        run.whole.check(run.copy, returned=exit_code == 0, again=True, same_run=False)


@pytest.mark.parametrize("name", LONG)
def test_told_to_end(tmp_path: Path, name: str) -> None:
    """Exit code 130, or 0 if it was too late; no temporary file stays, in the registry or beside it."""
    run = Run(name, tmp_path)
    exit_code = run.end(signal.SIGTERM, random.Random(name).uniform(0.2, 0.8) * run.seconds)
    assert exit_code in (0, 130)
    assert not [path for path in tree_of(run.copy) if ".dsvd-tmp-" in path]
    run.whole.check(run.copy, returned=exit_code == 0, again=True, same_run=False)
