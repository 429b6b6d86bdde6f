"""Seconds of `Registry.materialize` against loading, saving and hashing a checkpoint of equal size.

Registry, base, container and outputs are in memory-backed storage if there is room. All take turns,
each in a fresh process. Our result's SHA-256 is compared with the recorded one within the measured
time, and afterwards with the file. The yardsticks are safetensors' load_file, save_file and a SHA-256 of
the file; and `cp`.

Under a hypervisor the first use of idle memory is slow, and it is this that most runs of a user meet. In
the rows that say so, as much memory as the output needs was used and freed just before each run.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path
from statistics import median

from .harness.bench import Bench, Stored
from .harness.checks import Disagreement
from .harness.memory import touch_memory
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject

SUBJECTS = ("sd15-fp32", "sd15-fp16")
AIM = Aim(reach=0.85, stretch=0.7)
TAU = 0.5
FILES = 3.2  # files of the checkpoint's size that are there at the same time


def measure(bench: Bench, subject: Subject) -> list[Row]:
    with bench.memory_folder(int(FILES * subject.size)) as (folder, where):
        result = folder / "result.safetensors"
        with bench.stored(subject, where=folder, link=False, tau=TAU) as stored:
            stored.materialize(result)
            what = f"materialize, tau {TAU}, in {where}"
            return [
                *_rows(bench, subject, stored, result, what, touched=False),
                *_rows(bench, subject, stored, result, f"{what}, memory used before", touched=True),
            ]


def _rows(
    bench: Bench, subject: Subject, stored: Stored, result: Path, what: str, *, touched: bool
) -> list[Row]:
    """The runs in turns. `touched`: memory was used and freed just before each."""
    output, expected = result.with_name("output.safetensors"), _sha256(result)
    size = result.stat().st_size if touched else 0
    aim = AIM if subject.aims and not touched else None
    seconds: dict[str, list[float]] = {"ours": [], "load_and_save": [], "cp": []}
    for run in range(bench.runs):
        say(f"{what}, {subject.title}, run {run + 1}")
        made = bench.task(
            "materialize",
            registry=str(stored.registry),
            ref=stored.ref,
            output=str(output),
            size=size,
        )
        if not made.answer["sha256"] == expected == _sha256(output):
            raise Disagreement("materialize wrote two different files")
        seconds["ours"].append(made.seconds)
        output.unlink()
        again = bench.task("load_and_save", file=str(result), output=str(output), size=size)
        seconds["load_and_save"].append(again.seconds)
        output.unlink()
        touch_memory(output, size)
        seconds["cp"].append(_copy(result, output))
        output.unlink()
    ours, theirs, copy = (median(seconds[name]) for name in seconds)
    return [
        Row(what, "s", ours, bench.runs, "load_file, save_file, SHA-256", theirs, bench.runs, aim),
        Row(what, "s", ours, bench.runs, "cp", copy, bench.runs),
    ]


def _copy(file: Path, output: Path) -> float:
    start = time.perf_counter()
    subprocess.run(["cp", str(file), str(output)], check=True)
    return time.perf_counter() - start


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
