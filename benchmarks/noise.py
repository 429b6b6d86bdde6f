"""Savings by capping the rank at the noise rank, for a fine-tune saved in half precision.

The base and the trained fine-tune are fp32, and the fine-tune is rounded to fp16 and to bf16. The TRUE
delta is that of the fp32 fine-tune, which neither run sees. Errors are relative to it, in Frobenius
norm: "error of the delta" is that of the stored delta, "error of the file" that of the materialised
checkpoint, which is rounded once more. Ours is the default, with the cap; the yardstick is the same
with `keep_noise`. An aim of 1.02 means equality. The aims are for full-size models, whose trainers
take smaller steps than the demo's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open

from .harness.bench import Bench, Stored
from .harness.checks import relative_error
from .harness.rows import Aim, Row
from .harness.stored_delta import StoredDeltas
from .subjects.pair import OpenPair, Subject, Unsuited
from .subjects.rounded import write_rounded

SUBJECTS = ("demo", "pair")


@dataclass(frozen=True)
class Case:
    """A dtype to round to, tau, and the aims for parameters and error of the delta at full size."""

    name: str
    dtype: torch.dtype
    tau: float
    parameters: Aim
    error: Aim


CASES = (
    Case("fp16", torch.float16, 0.5, Aim(1 / 1.6), Aim(1.02)),
    Case("bf16", torch.bfloat16, 0.8, Aim(1 / 9), Aim(1 / 2)),
)


@dataclass(frozen=True)
class Kept:
    """The stored parameters of all kinds of record, and the errors of delta and file."""

    parameters: int
    delta_error: float
    file_error: float


def measure(bench: Bench, subject: Subject) -> list[Row]:
    with subject.open() as pair:
        if any(dtype != torch.float32 for dtype, _ in pair.kinds.values()):
            raise Unsuited(f"{subject.title} is not fp32: its true delta is unknown")
        return [row for case in CASES for row in _rows(bench, subject, pair, case)]


def _rows(bench: Bench, subject: Subject, pair: OpenPair, case: Case) -> Iterator[Row]:
    with bench.folder() as folder:
        tuned = folder / "tuned.safetensors"
        write_rounded(pair.kinds, pair.tuned, case.dtype, tuned)
        title = f"{subject.title} rounded to {case.name}"
        rounded = Subject(title, subject.base, tuned)
        with safe_open(tuned, framework="pt") as file:
            rounding = relative_error(pair, file.get_tensor)
        ours = _kept(bench, pair, rounded, tau=case.tau)
        theirs = _kept(bench, pair, rounded, tau=case.tau, keep_noise=True)
    full_size = pair.is_full_size
    what, yardstick = f"{case.name}, tau {case.tau}", "keep_noise"
    yield Row(
        f"{what}: parameters stored",
        "parameters",
        ours.parameters,
        1,
        yardstick,
        theirs.parameters,
        1,
        case.parameters if full_size else None,
    )
    yield Row(
        f"{what}: error of the delta",
        "error",
        ours.delta_error,
        1,
        yardstick,
        theirs.delta_error,
        1,
        case.error if full_size else None,
    )
    yield Row(
        f"{what}: error of the file",
        "error",
        ours.file_error,
        1,
        yardstick,
        theirs.file_error,
        1,
        note=f"the {case.name} fine-tune itself: {rounding:.4f}",
    )


def _kept(bench: Bench, pair: OpenPair, rounded: Subject, **settings: Any) -> Kept:
    with bench.stored(rounded, **settings) as stored, bench.folder() as folder:
        made = folder / "made.safetensors"
        stored.materialize(made)
        with safe_open(made, framework="pt") as file:
            file_error = relative_error(pair, file.get_tensor)
        parameters = sum(row.stored_parameters for row in stored.report().kinds)
        return Kept(parameters, _delta_error(pair, rounded, stored), file_error)


def _delta_error(pair: OpenPair, rounded: Subject, stored: Stored) -> float:
    off = whole = 0.0
    with StoredDeltas(stored.registry, stored.ref) as deltas, rounded.open() as seen:
        for name in pair.kinds:
            base = pair.base(name).double().reshape(-1)
            true = pair.tuned(name).double().reshape(-1) - base
            made = deltas.delta(name)
            if made is None:  # stored raw: the rounded fine-tune itself
                made = seen.tuned(name).double().reshape(-1) - base
            off += float((made - true).square().sum())
            whole += float(true.square().sum())
    return math.sqrt(off / whole)
