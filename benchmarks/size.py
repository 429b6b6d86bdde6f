"""Bytes of the whole container against Algorithm 1's factors at EQUAL relative Frobenius error.

The error is that of the whole delta, 1-D tensors included, measured in fp64 from the resulting
weights. Algorithm 1's error at each tau is measured first; then the container is made with
`max_error` at that value. A container whose materialised file is further from the fine-tune than
its report claims, or than was requested, fails the run. Other rows compare the default mode (`tau`),
whose error is another, and yardsticks without low rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .harness.bench import Bench, FullSvd
from .harness.checks import check_error, relative_error
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject, Unsuited
from .yardsticks import algorithm_1, eight_bit, fixed_rank, zstd

SUBJECTS = ("sd15-fp32", "demo", "full-rank", "merge", "pair")
AIMS = {0.5: Aim(1 / 5.5, 1 / 6), 0.2: Aim(1 / 6.3, 1 / 7), 0.06: Aim(1 / 7.7, 1 / 8.5)}
DEFAULT_TAU = 0.5  # of the rows with yardsticks without low rank


@dataclass(frozen=True)
class Made:
    """The bytes of a container, and the error measured in its materialised file."""

    size: int
    error: float


def measure(bench: Bench, subject: Subject) -> list[Row]:
    if not subject.svd:
        raise Unsuited(f"{subject.title} is too large for the yardstick")
    rows: list[Row] = []
    by_tau = {tau: _made(bench, subject, tau=tau) for tau in AIMS}
    svd = bench.full_svd(subject)
    for tau, aim in AIMS.items():
        rows += _equal_error(bench, subject, svd, tau, aim if subject.aims else None, by_tau[tau])
    rows.append(_fixed_rank(bench, subject, svd))
    rows += _without_low_rank(subject, by_tau[DEFAULT_TAU])
    return rows


def _equal_error(
    bench: Bench, subject: Subject, svd: FullSvd, tau: float, aim: Aim | None, default: Made
) -> Iterator[Row]:
    with bench.folder() as folder, subject.open() as pair:
        file = svd.compressed.cut(tau, folder / "factors.safetensors")
        raw, packed = file.stat().st_size, zstd.size_of_file(file)
        say(f"the error of Algorithm 1 at tau {tau}")
        error = relative_error(pair, algorithm_1.Result(pair, file).tensor)
    ours = _made(bench, subject, max_error=error)
    what = f"container, error at most {error:.4f}"
    note = f"errors {ours.error:.4f} and {error:.4f}"
    yield Row(what, "B", ours.size, 1, f"Algorithm 1, tau {tau}, fp16", raw, 1, aim, note)
    name = f"the same, zstd -{zstd.LEVEL}"
    yield Row(what, "B", ours.size, 1, name, packed, 1, note=note)
    note = f"NOT at equal error: {default.error:.4f} and {error:.4f}"
    what = f"container, tau {tau}"
    yield Row(what, "B", default.size, 1, f"Algorithm 1, tau {tau}, fp16", raw, 1, note=note)


def _fixed_rank(bench: Bench, subject: Subject, svd: FullSvd) -> Row:
    """The row for rank 128: its bytes, and its error by Algorithm 1's singular values (truncation)."""
    rank, values = fixed_rank.RANK, svd.compressed.values
    with subject.open() as pair:
        matrices = pair.matrices()
        size = sum(2 * min(rank, *shape) * sum(shape) for shape in matrices.values())
        vectors = [name for name in pair.kinds if name not in matrices]
        size += sum(2 * pair.base(name).numel() for name in vectors)
        whole = sum(float(pair.delta(name).double().square().sum()) for name in vectors)
    whole += sum(float(s.square().sum()) for s in values.values())
    lost = sum(float(s[rank:].square().sum()) for s in values.values())
    error = math.sqrt(lost / whole)
    what = "container, tau 1" if error == 0 else f"container, error at most {error:.4f}"
    ours = _made(bench, subject, **({"tau": 1.0} if error == 0 else {"max_error": error}))
    note = f"errors {ours.error:.4f} and, by the singular values, {error:.4f}"
    return Row(what, "B", ours.size, 1, f"rank {rank} in every layer, fp16", size, 1, note=note)


def _without_low_rank(subject: Subject, ours: Made) -> Iterator[Row]:
    what = f"container, tau {DEFAULT_TAU}"
    with subject.open() as pair:
        say("8-bit quantisation, zstd of the whole")
        error = relative_error(pair, lambda name: eight_bit.tensor(pair, name))
        note = f"NOT at equal error: {ours.error:.4f} and {error:.4f}"
        size = eight_bit.size(pair)
        yield Row(what, "B", ours.size, 1, "fine-tune in 8 bits", size, 1, note=note)
        for name, found in (
            (f"zstd -{zstd.LEVEL} of the fine-tune", zstd.size_of_tuned(pair)),
            (f"zstd -{zstd.LEVEL} of its XOR with the base", zstd.size_of_xor(pair)),
        ):
            note = f"errors {ours.error:.4f} and 0"
            if found.share < 1:
                note += f"; extrapolated from {found.share:.0%} of each tensor"
            yield Row(what, "B", ours.size, 1, name, found.stored, 1, note=note)


def _made(bench: Bench, subject: Subject, **settings: Any) -> Made:
    """Add, materialise and measure. Raises `Disagreement`."""
    with bench.stored(subject, **settings) as stored, bench.folder() as folder:
        report = stored.report()
        stored.materialize(folder / "made.safetensors")
        error = _error_of_file(subject, folder / "made.safetensors")
    check_error(error, claimed=report.error, asked=settings.get("max_error"))
    return Made(report.stored_bytes, error)


def _error_of_file(subject: Subject, file: Path) -> float:
    with subject.open() as pair, safe_open(file, framework="pt") as made:
        return relative_error(pair, made.get_tensor)
