"""Seconds of reading a mounted version, against `Registry.materialize` of it in the same run.

Registry and output are in memory-backed storage if there is room. Each reading is of a new mount, so
that neither the kernel nor the mount's program has anything of it; the mounting is not timed. What was
read is hashed afterwards and compared with the recorded SHA-256.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from dsvd_registry import mount
from dsvd_registry.mount import MountOptions

from .harness.bench import Bench, Stored
from .harness.checks import Disagreement
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject

SUBJECTS = ("sd15-fp32", "pair")
TAU = 0.5
FIRST_TO_LAST = Aim(reach=1.2, stretch=1.0)
ONE_TENSOR = Aim(reach=0.05, stretch=0.015, absolute=True)  # seconds
TENSOR = [1280, 1280]
FILES = 2.2  # files of the checkpoint's size that are there at the same time


def measure(bench: Bench, subject: Subject) -> list[Row]:
    with (
        bench.memory_folder(int(FILES * subject.size)) as (folder, where),
        bench.stored(subject, where=folder, link=False, tau=TAU) as stored,
    ):
        whole: dict[str, list[float]] = {"ours": [], "theirs": []}
        tensor: list[float] = []
        output = folder / "output.safetensors"
        for run in range(bench.runs):
            say(f"mount {subject.title}, run {run + 1}")
            made = bench.task(
                "materialize",
                registry=str(stored.registry),
                ref=stored.ref,
                output=str(output),
                size=subject.size,
            )
            output.unlink()
            whole["theirs"].append(made.seconds)
            with _mounted(stored, folder) as file:
                read = bench.task("read_file", file=str(file))
            if read.answer["sha256"] != made.answer["sha256"]:
                raise Disagreement("the mounted file is not the one that was written")
            whole["ours"].append(read.seconds)
            with _mounted(stored, folder) as file:
                found = bench.task("read_tensor", file=str(file), shape=TENSOR)
            tensor.append(found.seconds)
    runs, aims = bench.runs, subject.aims
    ours, theirs = median(whole["ours"]), median(whole["theirs"])
    aim = FIRST_TO_LAST if aims else None
    return [
        Row(
            f"mounted file, tau {TAU}, in {where}",
            "s",
            ours,
            runs,
            "materialize",
            theirs,
            runs,
            aim,
        ),
        Row(
            "safe_open of the mounted file and one tensor of 1280x1280",
            "s",
            median(tensor),
            runs,
            aim=ONE_TENSOR if aims else None,
        ),
    ]


@contextlib.contextmanager
def _mounted(stored: Stored, folder: Path) -> Iterator[Path]:
    """The version's file in a new mount."""
    place = folder / "mnt"
    place.mkdir(exist_ok=True)
    mount.start(MountOptions(str(stored.registry), None, str(place), None, None, None))
    try:
        yield place / "checkpoints" / f"{stored.ref}.safetensors"
    finally:
        mount.unmount(place)
        place.rmdir()
