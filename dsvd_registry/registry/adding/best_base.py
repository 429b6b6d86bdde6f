"""The base of the registry that a checkpoint was fine-tuned from, found by comparison.

Names and shapes select the bases that are possible. Among these a sample of weights decides: a
fine-tune differs little from its own base, and more from related ones. A LoRA file and a quantised
file have no weights to compare: their base is sure only if no other base has the same tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...catalog import BaseRecord
from ...checkpoint import Checkpoint, open_checkpoint
from ...encoding.constants import is_constant_name
from ...errors import BaseMismatch, NotFound, RegistryError, UnsureBase
from ...layouts import describe
from ...lora import is_lora
from ..repository import Repository
from .base_candidates import Candidate, ComparedBase, compared_bases, contents, has_delta
from .input_warnings import WRONG_BASE_CHANGE
from .weight_sample import can_be_sampled, relative_change, sampled_names

# Above one half of the checkpoint's tensors, two bases that fit share some of them.
MIN_MATCHED = 0.5
SURE_MIN_MATCHED = 0.8
SURE_MIN_MARGIN = 1.2  # ratio of two changes, far above what the choice of the sample can cause
CANDIDATES_SHOWN = 5  # in a message


@dataclass(frozen=True)
class BaseMatch:
    """The bases compared with a checkpoint, the best one first in `candidates`.

    `rival`: the name of the next base that fits and has other weights, or None. `margin`: the change
    to the rival over the change to the best base; 1 if unknown, infinite without a rival. `is_sure`:
    True if the best base can be used without asking.
    """

    path: Path
    rival: str | None
    margin: float
    is_sure: bool
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    def sure(self) -> str:
        """The name of the best base. Raises `UnsureBase` with the candidates' figures."""
        if self.is_sure:
            return self.best.name
        raise UnsureBase(
            f"which base {self.path} was made from is not sure: {_described(self.candidates)}",
            f"Name it: --base {self.best.name}, if that is the one.",
        )


def best_base(
    path: Path, bases: Sequence[BaseRecord], repository: Repository, weights: str | None = None
) -> BaseMatch:
    """Find the base that fits the checkpoint best. `weights`: the entry of a torch file to use.

    Raises `NotFound` if there is no base, `BaseMismatch` if none fits, `CheckpointError`,
    `RegistryError`, `StorageError`.
    """
    check_has_base(bases)
    with open_checkpoint(path, weights) as checkpoint:
        compared = compared_bases(checkpoint, bases, repository)
        fitting = [one for one in compared if one.candidate.matched >= MIN_MATCHED]
        # A quantised base with the same names is no rival of one to which deltas can be computed.
        fitting = [one for one in fitting if one.candidate.deltas >= MIN_MATCHED] or fitting
        others = [one for one in compared if one not in fitting]
        if not fitting:
            known = "a LoRA file" if is_lora(checkpoint.tensors) else describe(checkpoint.tensors)
            raise BaseMismatch(
                f"{path} ({known}) is a fine-tune of no base here: "
                + _described([one.candidate for one in _most_matched_first(compared)]),
                "Add its base with `dsvd base add NAME FILE`, or name one with --base.",
            )
        if is_lora(checkpoint.tensors):
            return _by_names(path, fitting, others)
        names = sampled_names(_distinguishing_tensors(checkpoint, fitting))
        if not names and _are_quantised(checkpoint, fitting):
            return _by_names(path, fitting, others)
        compared = [_with_change(checkpoint, one, names, repository) for one in fitting]
    return _by_weights(path, compared, others)


def check_has_base(bases: Sequence[BaseRecord]) -> None:
    """Raises `NotFound` where there is no base."""
    if not bases:
        raise NotFound("the registry has no base", "Add one with `dsvd base add NAME FILE`.")


def _by_names(
    path: Path, fitting: Sequence[ComparedBase], others: Sequence[ComparedBase]
) -> BaseMatch:
    """The match by names alone. A base that lacks a layer is no rival of one that has all."""
    best, *rest = sorted(fitting, key=_distance)
    matched = best.candidate.matched
    rivals = [one for one in rest if one.candidate.matched == matched and one.differs(best)]
    return _match(path, best, rest, others, rivals, is_sure=matched == 1 and not rivals)


def _by_weights(
    path: Path, compared: Sequence[ComparedBase], others: Sequence[ComparedBase]
) -> BaseMatch:
    best, *rest = sorted(compared, key=_distance)
    rivals = [one for one in rest if one.differs(best)]
    change = best.candidate.change
    is_sure = (
        change is not None
        and change < WRONG_BASE_CHANGE
        and best.candidate.matched >= SURE_MIN_MATCHED
        and (not rivals or _margin(best, rivals[0]) >= SURE_MIN_MARGIN)
        and all(one.candidate.change is not None for one in rivals)
    )
    return _match(path, best, rest, others, rivals, is_sure=is_sure)


def _match(
    path: Path,
    best: ComparedBase,
    rest: Sequence[ComparedBase],
    others: Sequence[ComparedBase],
    rivals: Sequence[ComparedBase],
    *,
    is_sure: bool,
) -> BaseMatch:
    ordered = [best, *rest, *_most_matched_first(others)]
    rival, margin = None, math.inf
    if rivals:
        rival, margin = rivals[0].base.name, _margin(best, rivals[0])
    return BaseMatch(path, rival, margin, is_sure, tuple(one.candidate for one in ordered))


def _distance(one: ComparedBase) -> tuple[float, float, int, int, str]:
    """A sort key, smallest for the best base; the checkpoint's own layout wins between equal weights."""
    change = one.candidate.change
    known = math.inf if change is None else change
    return known, -one.candidate.matched, one.renamed_tensors, one.size, one.base.name


def _distinguishing_tensors(checkpoint: Checkpoint, fitting: Sequence[ComparedBase]) -> list[str]:
    """The names of tensors whose weights differ between the bases; matrices alone if there are any."""
    names = [
        name
        for name, info in checkpoint.tensors.items()
        if info.elements
        and not is_constant_name(name)
        and all(
            name in one.counterparts and can_be_sampled(info.dtype, one.counterparts[name].tensors)
            for one in fitting
        )
    ]
    names = [
        name for name in names if len({contents(one.counterparts[name]) for one in fitting}) > 1
    ] or names
    return [name for name in names if len(checkpoint.tensors[name].shape) > 1] or names


def _are_quantised(checkpoint: Checkpoint, fitting: Sequence[ComparedBase]) -> bool:
    """True if no tensor has a delta to any of the bases because of its dtype."""
    found = [pair for one in fitting for pair in one.counterparts.items()]
    return bool(found) and not any(
        has_delta(checkpoint.tensors[name].dtype, counterpart) for name, counterpart in found
    )


def _with_change(
    checkpoint: Checkpoint, one: ComparedBase, names: Sequence[str], repository: Repository
) -> ComparedBase:
    """The base with the change in a sample of weights, or the problem that prevented it."""
    try:
        with repository.open_base(one.base) as weights:
            # A proof would read each tensor whole; `add` proves the tensors of the chosen base.
            sampled = {name: one.counterparts[name] for name in names}
            change = relative_change(checkpoint, weights.unproven(), sampled) if names else None
    except (BaseMismatch, RegistryError) as error:  # gone or damaged: another base may fit
        return replace(one, candidate=replace(one.candidate, problem=str(error)))
    return replace(one, candidate=replace(one.candidate, change=change))


def _margin(best: ComparedBase, rival: ComparedBase) -> float:
    nearest, next_nearest = best.candidate.change, rival.candidate.change
    if nearest is None or next_nearest is None:
        return 1.0
    if not nearest:
        return math.inf if next_nearest else 1.0
    return next_nearest / nearest


def _most_matched_first(some: Sequence[ComparedBase]) -> list[ComparedBase]:
    return sorted(some, key=lambda one: (-one.candidate.matched, one.base.name))


def _described(some: Sequence[Candidate]) -> str:
    more = f"; and {len(some) - CANDIDATES_SHOWN} more" if len(some) > CANDIDATES_SHOWN else ""
    return "; ".join(map(str, some[:CANDIDATES_SHOWN])) + more
