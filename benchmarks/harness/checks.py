"""Checks that fail a run: ranks must equal the yardstick's, and errors must not exceed the report's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from ..subjects.pair import OpenPair
from ..yardsticks.algorithm_1 import Values, energy_at, rank_at

EDGE = 1e-4  # the accuracy of E(t) in a full SVD in fp32
CLAIM_TOLERANCE = 1e-4
SUMMING_TOLERANCE = 1e-9  # two ways of adding up the same squares
CHUNK = 1 << 22  # elements


class Disagreement(Exception):
    """An error for a figure that must not be printed: a yardstick and our run disagree."""


def check_ranks(ours: Mapping[str, int], theirs: Values, tau: float) -> int:
    """Compare the tau rank of each layer, and return the number that differ within `EDGE` only.

    Args:
        ours: the tau ranks of the layers that are stored with a rank.
        theirs: the singular values of a full SVD.
        tau: the share of energy to keep.

    Raises:
        Disagreement: if the ranks of a layer differ, and E(t) is not within `EDGE` of tau for each t
            between them.
    """
    near, wrong = 0, []
    for name, rank in ours.items():
        expected = rank_at(theirs[name], tau)
        between = range(min(rank, expected), max(rank, expected))
        if rank == expected:
            continue
        if all(abs(energy_at(theirs[name], t) - tau) <= EDGE for t in between):
            near += 1
        else:
            wrong.append(f"{name}: {rank}, where a full SVD gives {expected}")
    if wrong:
        raise Disagreement(f"{len(wrong)} ranks at tau {tau} differ:\n  " + "\n  ".join(wrong))
    return near


def check_error(measured: float, *, claimed: float, asked: float | None = None) -> None:
    """Raise `Disagreement` if an error is larger than the report's, or than was requested."""
    if measured > claimed * (1 + CLAIM_TOLERANCE):
        raise Disagreement(f"the error measured, {measured!r}, is over the report's {claimed!r}")
    if asked is not None and measured > asked * (1 + SUMMING_TOLERANCE):
        raise Disagreement(f"the error measured, {measured!r}, is over the {asked!r} asked for")


def relative_error(pair: OpenPair, result: Callable[[str], torch.Tensor]) -> float:
    """The Frobenius norm of (result - source) over that of (source - base), of all tensors, in fp64.

    `result`: returns a tensor by its name.
    """
    off = whole = 0.0
    for name in pair.kinds:
        sides = (pair.base(name), pair.tuned(name), result(name))
        base, tuned, made = (torch.split(side.reshape(-1), CHUNK) for side in sides)
        for b, t, m in zip(base, tuned, made, strict=True):
            source = t.double()
            off += float((m.double() - source).square().sum())
            whole += float((source - b.double()).square().sum())
    return math.sqrt(off / whole) if whole else 0.0
