"""Which base of the registry a checkpoint was fine-tuned from, where nobody says it.

Names and shapes tell which bases it may be. Among those the weights decide: of the right base a
fine-tune is a small change, of its siblings a larger one. A LoRA file has no weights to compare, nor
has a quantised file: each is sure of its base only where no other one has its tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..catalog import BaseRecord
from ..checkpoint import Checkpoint, open_checkpoint
from ..encoding.constant_names import is_constant_name
from ..errors import BaseMismatch, NotFound, RegistryError, UnsureBase
from ..layouts import describe
from ..lora import is_lora
from .base_candidates import Beside, Candidate, candidates, contents, has_delta
from .report import WRONG_BASE_CHANGE
from .repository import Repository
from .weight_sample import can_be_sampled, relative_change, spread

FITS = 0.5  # of the checkpoint's tensors: two bases that fit then share some of them
SURE_MATCHED = 0.8
SURE_MARGIN = 1.2  # times the change: far above what the choice of the sample makes of one base
NAMED = 5  # candidates that a message has room for


@dataclass(frozen=True)
class BaseMatch:
    """The base that fits best is the first of `candidates`; the others follow, the nearest first.

    `rival`: the name of the next that fits and holds other weights, None where there is none;
    `margin`: the change to it over the change to the best, 1 where it is not known, infinite
    without a rival.
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
            f"which base {self.path} was made from is not sure: {_listed(self.candidates)}",
            f"Name it: --base {self.best.name}, if that is the one.",
        )


def best_base(
    path: Path, bases: Sequence[BaseRecord], repository: Repository, weights: str | None = None
) -> BaseMatch:
    """The base that fits the checkpoint best; with `weights`, that entry of a torch file.

    Raises `NotFound` where there is no base, `BaseMismatch` where none fits, `CheckpointError`,
    `RegistryError`, `StorageError`.
    """
    check_some(bases)
    with open_checkpoint(path, weights) as checkpoint:
        beside = candidates(checkpoint, bases, repository)
        fitting = [one for one in beside if one.candidate.matched >= FITS]
        # Where a base has deltas, a quantised one of the same names is none to be unsure about.
        fitting = [one for one in fitting if one.candidate.deltas >= FITS] or fitting
        others = [one for one in beside if one not in fitting]
        if not fitting:
            known = "a LoRA file" if is_lora(checkpoint.tensors) else describe(checkpoint.tensors)
            raise BaseMismatch(
                f"{path} ({known}) is a fine-tune of no base here: "
                + _listed([one.candidate for one in _by_matched(beside)]),
                "Add its base with `dsvd base add NAME FILE`, or name one with --base.",
            )
        if is_lora(checkpoint.tensors):
            return _by_names(path, fitting, others)
        names = spread(_telling(checkpoint, fitting))
        if not names and _are_quantised(checkpoint, fitting):
            return _by_names(path, fitting, others)
        compared = [_compared(checkpoint, one, names, repository) for one in fitting]
    return _by_weights(path, compared, others)


def check_some(bases: Sequence[BaseRecord]) -> None:
    """Raises `NotFound` where there is no base."""
    if not bases:
        raise NotFound("the registry has no base", "Add one with `dsvd base add NAME FILE`.")


def _by_names(path: Path, fitting: Sequence[Beside], others: Sequence[Beside]) -> BaseMatch:
    """A base that lacks a layer is no rival of one that has all of them."""
    best, *rest = sorted(fitting, key=_order)
    matched = best.candidate.matched
    rivals = [one for one in rest if one.candidate.matched == matched and one.differs(best)]
    return _match(path, best, rest, others, rivals, is_sure=matched == 1 and not rivals)


def _by_weights(path: Path, compared: Sequence[Beside], others: Sequence[Beside]) -> BaseMatch:
    best, *rest = sorted(compared, key=_order)
    rivals = [one for one in rest if one.differs(best)]
    change = best.candidate.change
    is_sure = (
        change is not None
        and change < WRONG_BASE_CHANGE
        and best.candidate.matched >= SURE_MATCHED
        and (not rivals or _margin(best, rivals[0]) >= SURE_MARGIN)
        and all(one.candidate.change is not None for one in rivals)
    )
    return _match(path, best, rest, others, rivals, is_sure=is_sure)


def _match(
    path: Path,
    best: Beside,
    rest: Sequence[Beside],
    others: Sequence[Beside],
    rivals: Sequence[Beside],
    *,
    is_sure: bool,
) -> BaseMatch:
    ordered = [best, *rest, *_by_matched(others)]
    rival, margin = None, math.inf
    if rivals:
        rival, margin = rivals[0].base.name, _margin(best, rivals[0])
    return BaseMatch(path, rival, margin, is_sure, tuple(one.candidate for one in ordered))


def _order(one: Beside) -> tuple[float, float, int, int, str]:
    """The first is the best. Of bases of the same weights: that in the checkpoint's own words."""
    change = one.candidate.change
    known = math.inf if change is None else change
    return known, -one.candidate.matched, one.other_words, one.size, one.base.name


def _telling(checkpoint: Checkpoint, fitting: Sequence[Beside]) -> list[str]:
    """Tensors whose weights tell the bases apart; matrices, where there are any, say the most."""
    names = [
        name
        for name, info in checkpoint.tensors.items()
        if info.elements
        and not is_constant_name(name)
        and all(
            name in one.found and can_be_sampled(info.dtype, one.found[name].tensors)
            for one in fitting
        )
    ]
    names = [
        name for name in names if len({contents(one.found[name]) for one in fitting}) > 1
    ] or names
    return [name for name in names if len(checkpoint.tensors[name].shape) > 1] or names


def _are_quantised(checkpoint: Checkpoint, fitting: Sequence[Beside]) -> bool:
    """Whether none of the tensors has a delta to any of the bases, which have weights of their own."""
    found = [(name, viewed) for one in fitting for name, viewed in one.found.items()]
    return bool(found) and not any(
        has_delta(checkpoint.tensors[name].dtype, viewed) for name, viewed in found
    )


def _compared(
    checkpoint: Checkpoint, one: Beside, names: Sequence[str], repository: Repository
) -> Beside:
    """With the change of the sample, or why it could not be taken."""
    try:
        with repository.open_base(one.base) as weights:
            # To prove a tensor it is read whole; `add` does that of the base that is chosen.
            sampled = {name: one.found[name] for name in names}
            change = relative_change(checkpoint, weights.unproven(), sampled) if names else None
    except (BaseMismatch, RegistryError) as error:  # gone or damaged: others may do
        return replace(one, candidate=replace(one.candidate, problem=str(error)))
    return replace(one, candidate=replace(one.candidate, change=change))


def _margin(best: Beside, rival: Beside) -> float:
    nearest, next_nearest = best.candidate.change, rival.candidate.change
    if nearest is None or next_nearest is None:
        return 1.0
    if not nearest:
        return math.inf if next_nearest else 1.0
    return next_nearest / nearest


def _by_matched(some: Sequence[Beside]) -> list[Beside]:
    return sorted(some, key=lambda one: (-one.candidate.matched, one.base.name))


def _listed(some: Sequence[Candidate]) -> str:
    more = f"; and {len(some) - NAMED} more" if len(some) > NAMED else ""
    return "; ".join(map(str, some[:NAMED])) + more
