"""Which base of the registry a checkpoint was fine-tuned from, where nobody says it.

Names and shapes tell which bases it may be, from their manifests alone. Among those, the weights
decide: of the right base a fine-tune is a small change, of its siblings a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..catalog import BaseRecord
from ..checkpoint import Checkpoint, TensorInfo, open_checkpoint
from ..container.records import BaseTensor, View
from ..errors import BaseMismatch, CheckpointError, NotFound, UnsureBase
from ..layouts import Correspondence, describe, map_names
from ..store import ObjectStore
from .opening import open_base, read_manifest
from .report import WRONG_BASE_CHANGE
from .weight_sample import can_be_sampled, relative_change, spread

FITS = 0.5  # of the checkpoint's tensors: two bases that fit then share some of them
SURE_MATCHED = 0.8
SURE_MARGIN = 1.2  # times the change: far above what the choice of the sample makes of one base


@dataclass(frozen=True)
class Candidate:
    """A base beside a checkpoint. `matched`: the share of the checkpoint's tensors it has, in [0, 1].

    `change`: Frobenius norm of (checkpoint - base) over that of the base, of a sample of weights;
    None where none was taken. `problem`: what kept the base from being compared, or "".
    """

    name: str
    digest: str
    matched: float
    change: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        """For people: "sd15 (100 % of the tensors, change 0.0123)"."""
        words = [f"{self.matched:.0%} of the tensors".replace("%", " %")]
        if self.change is not None:
            words.append(f"change {self.change:.3g}")
        if self.problem:
            words.append(self.problem)
        return f"{self.name} ({', '.join(words)})"


@dataclass(frozen=True)
class BaseMatch:
    """The base that fits best is the first of `candidates`; the others follow, the nearest first.

    `rival`: the name of the next that fits and holds other weights, None where there is none;
    `margin`: the change to it over the change to the best, then infinite.
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
            f"which base {self.path} was fine-tuned from is not sure: "
            + "; ".join(map(str, self.candidates)),
            f"Name it: --base {self.best.name}, if that is the one.",
        )


@dataclass(frozen=True)
class _Beside:
    """A base, and which of its tensors correspond to those of the checkpoint."""

    base: BaseRecord
    tensors: Mapping[str, BaseTensor]
    found: Mapping[str, Correspondence]
    candidate: Candidate

    def content(self, name: str) -> tuple[View, tuple[tuple[str, str], ...]]:
        """What the checkpoint's tensor `name` would be taken against: equal for equal weights."""
        names = self.found[name]
        return names.view, tuple(
            (self.tensors[one].sha256, self.tensors[one].dtype) for one in names.base
        )

    def differs(self, other: _Beside) -> bool:
        """Whether they have other weights where both correspond to the checkpoint."""
        both = self.found.keys() & other.found.keys()
        return not both or any(self.content(name) != other.content(name) for name in both)

    @property
    def order(self) -> tuple[float, float, int, str]:
        """Where it comes among others that fit: the first is the best."""
        change = self.candidate.change
        known = math.inf if change is None else change
        return known, -self.candidate.matched, len(self.tensors), self.base.name


def best_base(path: Path, bases: Sequence[BaseRecord], objects: ObjectStore) -> BaseMatch:
    """The base that fits the checkpoint best.

    Raises `NotFound` where there is no base, `BaseMismatch` where none fits, `CheckpointError`,
    `RegistryError`, `StorageError`.
    """
    if not bases:
        raise NotFound("the registry has no base", "Add one with `dsvd base add NAME FILE`.")
    with open_checkpoint(path) as checkpoint:
        beside = [_beside(checkpoint, base, objects) for base in bases]
        fitting = [one for one in beside if one.candidate.matched >= FITS]
        others = [one for one in beside if one.candidate.matched < FITS]
        if not fitting:
            raise BaseMismatch(
                f"{path} ({describe(checkpoint.tensors)}) is a fine-tune of no base here: "
                + "; ".join(str(one.candidate) for one in _by_matched(beside)),
                "Add its base with `dsvd base add NAME FILE`, or name one with --base.",
            )
        names = spread(_telling(checkpoint, fitting))
        compared = [_compared(checkpoint, one, names, objects) for one in fitting]
    best, *rest = sorted(compared, key=lambda one: one.order)
    rivals = [one for one in rest if one.differs(best)]
    margin = _margin(best, rivals[0]) if rivals else math.inf
    change = best.candidate.change
    is_sure = (
        change is not None
        and change < WRONG_BASE_CHANGE
        and best.candidate.matched >= SURE_MATCHED
        and margin >= SURE_MARGIN
        and all(one.candidate.change is not None for one in rivals)
    )
    ordered = [best, *rest, *_by_matched(others)]
    rival = rivals[0].base.name if rivals else None
    return BaseMatch(path, rival, margin, is_sure, tuple(one.candidate for one in ordered))


def _beside(checkpoint: Checkpoint, base: BaseRecord, objects: ObjectStore) -> _Beside:
    """What names and shapes tell."""
    manifest = read_manifest(base, objects)
    tensors = {t.name: BaseTensor(t.name, t.dtype, t.shape, t.sha256) for t in manifest.tensors}
    infos = {t.name: TensorInfo(t.name, t.dtype, t.shape) for t in manifest.tensors}
    found: dict[str, Correspondence] = {}
    problem = ""
    try:
        names = map_names(infos, checkpoint.tensors)
        found = {one.tensor: one for one in names.correspondences}
    except BaseMismatch:
        problem = str(describe(infos))
    except CheckpointError as error:
        problem = str(error)
    matched = len(found) / max(1, len(checkpoint.tensors))
    return _Beside(base, tensors, found, Candidate(base.name, base.digest, matched, None, problem))


def _telling(checkpoint: Checkpoint, fitting: Sequence[_Beside]) -> list[str]:
    """Tensors whose weights tell the bases apart; matrices, where there are any, say the most."""
    names = [
        name
        for name, info in checkpoint.tensors.items()
        if info.elements
        and all(
            name in one.found
            and can_be_sampled(info.dtype, [one.tensors[n] for n in one.found[name].base])
            for one in fitting
        )
    ]
    names = [name for name in names if len({one.content(name) for one in fitting}) > 1] or names
    return [name for name in names if len(checkpoint.tensors[name].shape) > 1] or names


def _compared(
    checkpoint: Checkpoint, one: _Beside, names: Sequence[str], objects: ObjectStore
) -> _Beside:
    """With the change of the sample, or why it could not be taken."""
    try:
        with open_base(one.base, objects) as weights:
            sampled = [one.found[name] for name in names]
            change = relative_change(checkpoint, weights, sampled) if sampled else None
    except BaseMismatch as error:  # gone or damaged: others may do
        return replace(one, candidate=replace(one.candidate, problem=str(error)))
    return replace(one, candidate=replace(one.candidate, change=change))


def _margin(best: _Beside, rival: _Beside) -> float:
    nearest, next_nearest = best.candidate.change, rival.candidate.change
    if nearest is None or next_nearest is None:
        return 1.0
    if not nearest:
        return math.inf if next_nearest else 1.0
    return next_nearest / nearest


def _by_matched(some: Sequence[_Beside]) -> list[_Beside]:
    return sorted(some, key=lambda one: (-one.candidate.matched, one.base.name))
