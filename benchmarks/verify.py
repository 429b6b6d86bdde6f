"""Seconds of `Registry.verify` (not deep) of one version against a SHA-256 of the same bytes.

The bytes are the container's and the base's, in memory-backed storage if there is room. Both take
turns, each in a fresh process. The aim is 0.8 of the speed of hashlib's SHA-256.
"""

from __future__ import annotations

from statistics import median

from .harness.bench import Bench
from .harness.checks import Disagreement
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject

SUBJECTS = ("sd15-fp32",)
AIM = Aim(reach=1 / 0.8, stretch=1.0)
TAU = 0.5


def measure(bench: Bench, subject: Subject) -> list[Row]:
    ours, theirs = [], []
    with (
        bench.memory_folder(int(1.2 * subject.size)) as (folder, where),
        bench.stored(subject, where=folder, link=False, tau=TAU) as stored,
    ):
        # The two largest objects: all others together have a few kilobytes.
        objects = sorted(stored.registry.glob("objects/*/*"), key=lambda path: path.stat().st_size)
        files = objects[-2:]
        size = sum(path.stat().st_size for path in files)
        for run in range(bench.runs):
            say(f"verify {subject.title}, run {run + 1}")
            found = bench.task("verify", registry=str(stored.registry), ref=stored.ref)
            if found.answer["bytes_read"] < size:
                raise Disagreement(f"verify read {found.answer['bytes_read']} of {size} bytes")
            ours.append(found.seconds)
            theirs.append(bench.task("sha256", files=[str(path) for path in files]).seconds)
    what = f"verify, {size / 1e6:,.0f} MB in {where}"
    name = "hashlib's SHA-256 of the same bytes"
    aim = AIM if subject.aims else None
    return [Row(what, "s", median(ours), bench.runs, name, median(theirs), bench.runs, aim)]
