"""Seconds of `Registry.materialize` against loading, saving and hashing a checkpoint of equal size.

Registry, base, container and outputs are in memory-backed storage if there is room. All take turns,
each in a fresh process. Our result's SHA-256 is compared with the recorded one within the measured
time, and afterwards with the file. Just before each run, as much memory as the output needs is used
and freed: under a hypervisor the first use of idle memory is slow. The yardsticks are safetensors'
load_file, save_file and a SHA-256 of the file; and `cp`.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path
from statistics import median

from .harness.bench import Bench
from .harness.checks import Disagreement
from .harness.memory import touch_memory
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject

SUBJECTS = ("sd15-fp32", "sd15-fp16", "pair")
AIM = Aim(reach=1.0, stretch=0.7)
TAU = 0.5
FILES = 3.2  # files of the checkpoint's size that are there at the same time


def measure(bench: Bench, subject: Subject) -> list[Row]:
    seconds: dict[str, list[float]] = {"ours": [], "load_and_save": [], "cp": []}
    with bench.memory_folder(int(FILES * subject.size)) as (folder, where):
        result, output = folder / "result.safetensors", folder / "output.safetensors"
        with bench.stored(subject, where=folder, link=False, tau=TAU) as stored:
            stored.materialize(result)
            expected, size = _sha256(result), result.stat().st_size
            for run in range(bench.runs):
                say(f"materialize {subject.title}, run {run + 1}")
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
    what = f"materialize, tau {TAU}, in {where}"
    runs, aim = bench.runs, AIM if subject.aims else None
    return [
        Row(what, "s", ours, runs, "load_file, save_file, SHA-256", theirs, runs, aim),
        Row(what, "s", ours, runs, "cp", copy, runs),
    ]


def _copy(file: Path, output: Path) -> float:
    start = time.perf_counter()
    subprocess.run(["cp", str(file), str(output)], check=True)
    return time.perf_counter() - start


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
