"""Seconds of reading results without writing them, against `Registry.materialize` of the same version.

Registry, base, container and output are in memory-backed storage if there is room. All take turns,
each in a fresh process, and each reader opens the version anew, which includes the check of its
container. What was read is hashed afterwards and compared with the recorded SHA-256.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

from .harness.bench import Bench, Stored
from .harness.checks import Disagreement
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject

SUBJECTS = ("sd15-fp32",)
TAU = 0.5
STEP = 1 << 20  # bytes of one read
TENSOR = [1280, 1280]
FIRST_TO_LAST = Aim(reach=1.2, stretch=1.0)
ONE_TENSOR = Aim(reach=0.05, stretch=0.015, absolute=True)  # seconds
FILES = 2.2  # files of the checkpoint's size that are there at the same time


def measure(bench: Bench, subject: Subject) -> list[Row]:
    with (
        bench.memory_folder(int(FILES * subject.size)) as (folder, where),
        bench.stored(subject, where=folder, link=False, tau=TAU) as stored,
    ):
        return [*_read(bench, subject, stored, folder, where), *_tensor(bench, subject, stored)]


def _read(bench: Bench, subject: Subject, stored: Stored, folder: Path, where: str) -> list[Row]:
    """From first to last."""
    output, ours, theirs = folder / "output.safetensors", [], []
    for run in range(bench.runs):
        say(f"results {subject.title}, run {run + 1}")
        made = bench.task(
            "materialize",
            registry=str(stored.registry),
            ref=stored.ref,
            output=str(output),
            size=subject.size,
        )
        output.unlink()
        read = bench.task("read_result", registry=str(stored.registry), ref=stored.ref, step=STEP)
        if read.answer["sha256"] != made.answer["sha256"]:
            raise Disagreement("what was read is not what was written")
        ours.append(read.seconds)
        theirs.append(made.seconds)
    what = f"open_result read from first to last, tau {TAU}, in {where}"
    aim = FIRST_TO_LAST if subject.aims else None
    return [
        Row(what, "s", median(ours), bench.runs, "materialize", median(theirs), bench.runs, aim)
    ]


def _tensor(bench: Bench, subject: Subject, stored: Stored) -> list[Row]:
    """One tensor of the usual size, the first time, of a result that is open; if there is one."""
    seconds = []
    for _ in range(bench.runs):
        read = bench.task(
            "first_tensor", registry=str(stored.registry), ref=stored.ref, shape=TENSOR
        )
        if not read.answer["size"]:
            return []
        seconds.append(read.seconds)
    aim = ONE_TENSOR if subject.aims else None
    return [Row(f"the first {TENSOR} tensor", "s", median(seconds), bench.runs, aim=aim)]
