"""One run of the harness: repetitions, folders, and results that figures share."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from dsvd_registry import Registry

from ..subjects.pair import Subject
from ..yardsticks.algorithm_1 import Compressed, read_values
from .fresh import Outcome, run_fresh
from .machine import available_memory
from .progress import say

if TYPE_CHECKING:
    from dsvd_registry.registry.accounts.report import Report

ALGORITHM_1_TAU = 0.5  # the tau of its timed run; lower taus are cut from its file
LONG = 20  # seconds: a yardstick that takes longer is run once
MEMORY_BACKED = Path("/dev/shm")
SPARE_MEMORY = 3 << 30  # for the processes that work on files in memory


@dataclass(frozen=True)
class Stored:
    """A fine-tune in a registry of its own, and the time and memory of `add`."""

    registry: Path
    ref: str
    outcome: Outcome

    def report(self) -> Report:
        with Registry.open(self.registry) as registry:
            return registry.report(self.ref)

    def materialize(self, output: Path) -> None:
        with Registry.open(self.registry) as registry:
            registry.materialize(self.ref, output)


@dataclass(frozen=True)
class FullSvd:
    """The result of Algorithm 1 on one subject in this run, and the seconds of each repetition."""

    compressed: Compressed
    seconds: list[float]

    @property
    def median(self) -> float:
        return median(self.seconds)


@dataclass
class Bench:
    """One run of the harness.

    `scratch`: an empty folder on disk, which is not removed. `runs`: the repetitions of timed tasks.
    `in_process`: run tasks in this process, to test the harness quickly.
    """

    scratch: Path
    runs: int = 3
    in_process: bool = False
    _full_svds: dict[str, FullSvd] = field(default_factory=dict)

    def task(self, name: str, *, memory: bool = False, **arguments: Any) -> Outcome:
        """Run one task of `tasks.TASKS`, in a fresh process."""
        if not self.in_process:
            return run_fresh(name, arguments, memory=memory)
        from .tasks import perform

        return perform(name, arguments, memory)

    @contextlib.contextmanager
    def folder(self, where: Path | None = None) -> Iterator[Path]:
        """An empty folder, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=where or self.scratch, prefix="dsvd-bench-") as name:
            yield Path(name)

    @contextlib.contextmanager
    def memory_folder(self, size: int) -> Iterator[tuple[Path, str]]:
        """A folder with room for `size` bytes, in memory-backed storage if possible, and its kind."""
        backed = (
            MEMORY_BACKED.is_dir()
            and shutil.disk_usage(MEMORY_BACKED).free > size
            and available_memory() > size + SPARE_MEMORY
        )
        with self.folder(MEMORY_BACKED if backed else None) as folder:
            yield folder, "memory-backed storage" if backed else "ON DISK, memory is short"

    @contextlib.contextmanager
    def stored(
        self,
        subject: Subject,
        *,
        where: Path | None = None,
        link: bool = True,
        memory: bool = False,
        **settings: Any,
    ) -> Iterator[Stored]:
        """A new registry with the subject's base and fine-tune, added with `settings`.

        `link`: link the base instead of copying gigabytes.
        """
        say(f"add {subject.title} with {_shown(settings)}")
        with self.folder(where) as folder:
            with Registry.init(folder / "registry") as registry:
                registry.add_base("base", subject.base, link=link)
            outcome = self.task(
                "add",
                memory=memory,
                registry=str(folder / "registry"),
                file=str(subject.tuned),
                settings=settings,
            )
            say(f"  {outcome.seconds:.1f} s")
            yield Stored(folder / "registry", outcome.answer["ref"], outcome)

    def full_svd(self, subject: Subject) -> FullSvd:
        """The result of Algorithm 1, which all figures of this run share."""
        if subject.title not in self._full_svds:
            self._full_svds[subject.title] = self._run_full_svd(subject)
        return self._full_svds[subject.title]

    def _run_full_svd(self, subject: Subject) -> FullSvd:
        folder = Path(tempfile.mkdtemp(dir=self.scratch, prefix="algorithm-1-"))
        file, values = folder / "factors.safetensors", folder / "values.safetensors"
        seconds: list[float] = []
        while len(seconds) < (1 if seconds and seconds[0] > LONG else self.runs):
            say(f"Algorithm 1 on {subject.title}")
            subject.warm()
            outcome = self.task(
                "algorithm_1",
                base=str(subject.base),
                tuned=str(subject.tuned),
                tau=ALGORITHM_1_TAU,
                output=str(file),
                values=str(values),
            )
            seconds.append(outcome.seconds)
            say(f"  {outcome.seconds:.1f} s")
        return FullSvd(Compressed(file, ALGORITHM_1_TAU, read_values(values)), seconds)


def _shown(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
