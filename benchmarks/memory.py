"""Peak anonymous memory of `add` and `materialize` over an interpreter with torch imported.

It is RssAnon of a fresh process, sampled every 5 ms. Mapped pages of files, which the system may drop
at any time, are not counted. The aim is the same for each subject: memory should not grow with the
checkpoint.
"""

from __future__ import annotations

from statistics import median

from .harness.bench import Bench
from .harness.rows import Aim, Row
from .subjects.pair import Subject

SUBJECTS = ("sd15-fp32", "sdxl-fp16")
AIM = Aim(reach=1024, stretch=512, absolute=True)  # MiB
TAU = 0.5
MIB = 2**20


def measure(bench: Bench, subject: Subject) -> list[Row]:
    added, made = [], []
    for _ in range(bench.runs):
        with (
            bench.stored(subject, memory=True, tau=TAU) as stored,
            bench.folder() as folder,
        ):
            added.append(stored.outcome.over / MIB)
            outcome = bench.task(
                "materialize",
                memory=True,
                registry=str(stored.registry),
                ref=stored.ref,
                output=str(folder / "made.safetensors"),
            )
            made.append(outcome.over / MIB)
    return [
        Row(
            f"{verb}, tau {TAU}",
            "MiB",
            median(peaks),
            bench.runs,
            aim=AIM if subject.aims else None,
        )
        for verb, peaks in (("add", added), ("materialize", made))
    ]
