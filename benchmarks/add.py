"""Seconds of `Registry.add` against the paper's Algorithm 1 and against community extractors.

Each run of `add` is a fresh process and a fresh registry on disk, with both files in the page
cache. Its time includes hashing the source, encoding, writing the container, reading it back and
materialising it once. Algorithm 1 is a thin SVD of every layer in fp32, with fp16 factors written to
one file; if it takes minutes it runs once. The tau rank of every layer is compared with Algorithm
1's, and a difference fails the run. `max_error` and `budget` ask for the error and for the bytes that
the run at tau gave: no tau's rank is due there.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from .harness.bench import ALGORITHM_1_TAU, Bench
from .harness.checks import check_ranks
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject
from .yardsticks import fixed_rank
from .yardsticks.algorithm_1 import Values

if TYPE_CHECKING:
    from dsvd_registry.registry.accounts.report import Report

SUBJECTS = ("sd15-fp32", "demo")
AIM = Aim(reach=1 / 9, stretch=1 / 12)
WITHOUT_TAU = Aim(reach=1 / 12, stretch=1 / 20)
TAU = ALGORITHM_1_TAU


def measure(bench: Bench, subject: Subject) -> list[Row]:
    """Rows of our seconds, with those of each yardstick if the subject is small enough for it."""
    seconds = []
    for _ in range(bench.runs):
        subject.warm()
        with bench.stored(subject, tau=TAU) as stored:
            seconds.append(stored.outcome.seconds)
            report = stored.report()
    ours = median(seconds)
    what = f"add, tau {TAU}"
    if not subject.svd:
        return [Row(what, "s", ours, bench.runs, note="time only: no full SVD of this one is run")]
    svd = bench.full_svd(subject)
    others = {"max_error": report.error, "budget": report.stored_bytes}
    return [
        Row(
            what,
            "s",
            ours,
            bench.runs,
            "Algorithm 1 (thin SVD, fp32)",
            svd.median,
            len(svd.seconds),
            AIM if subject.aims else None,
            _compare_ranks(report, svd.compressed.values),
        ),
        _fixed_rank(bench, subject, what, ours),
        *(_without_tau(bench, subject, name, value) for name, value in others.items()),
    ]


def _without_tau(bench: Bench, subject: Subject, name: str, value: float) -> Row:
    seconds, svd = [], bench.full_svd(subject)
    for _ in range(bench.runs):
        subject.warm()
        with bench.stored(subject, **{name: value}) as stored:
            seconds.append(stored.outcome.seconds)
            report = stored.report()
    return Row(
        f"add, {name} {value:,.4f}" if name == "max_error" else f"add, {name} {value:,} B",
        "s",
        median(seconds),
        bench.runs,
        "Algorithm 1 (thin SVD, fp32)",
        svd.median,
        len(svd.seconds),
        WITHOUT_TAU if subject.aims else None,
        f"error {report.error:.4f}, {report.stored_bytes:,} B",
    )


def _compare_ranks(report: Report, values: Values) -> str:
    """The number of equal ranks, as a note. Raises `Disagreement` for ranks that differ."""
    ours = {
        row.name: row.tau_rank
        for row in report.tensors
        if row.tau_rank is not None and row.name in values
    }
    near = check_ranks(ours, values, TAU)
    other = len(values) - len(ours)
    text = f"{len(ours) - near} ranks equal, {near} at the edge"
    return f"{text}, {other} layers not stored as low rank" if other else text


def _fixed_rank(bench: Bench, subject: Subject, what: str, ours: float) -> Row:
    def seconds_of(shape: fixed_rank.Shape) -> float:
        say(f"full_matrices=True of one {shape[0]} x {shape[1]} layer")
        return bench.task("fixed_rank", rows=shape[0], columns=shape[1]).seconds

    with subject.open() as pair:
        found = fixed_rank.estimate(pair.matrices().values(), seconds_of)
    return Row(
        what,
        "s",
        ours,
        bench.runs,
        f"rank {fixed_rank.RANK}, full_matrices=True",
        found.seconds,
        1,
        note=f"a low estimate from one layer of each of {found.measured} of {found.shapes} shapes",
    )
