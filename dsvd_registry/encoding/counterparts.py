"""What each tensor of a fine-tune is a change of: tensors of its base, whatever layout either is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..checkpoint import Checkpoint, TensorInfo
from ..container.records import BaseTensor, RawReason
from ..errors import BaseMismatch
from ..layouts import (
    NameMap,
    ViewedTensors,
    can_be_same,
    describe,
    lacks_delta,
    map_with_variants,
)
from ..reconstruction.base_weights import BaseWeights


@dataclass(frozen=True)
class Counterpart:
    """Tensors of a base, and the view that makes of them what a source tensor is taken against.

    `shape`: of the rows that both have. `new_rows`: how many the source has besides, at the end.
    """

    base: ViewedTensors[BaseTensor]
    shape: tuple[int, ...]
    new_rows: int


@dataclass(frozen=True)
class Counterparts:
    """Of every tensor of a fine-tune its counterpart, or why no delta to one can be taken."""

    found: Mapping[str, Counterpart]
    reasons: Mapping[str, RawReason]


def find_counterparts(checkpoint: Checkpoint, base: BaseWeights) -> Counterparts:
    """From names, dtypes and shapes alone.

    Raises `BaseMismatch` for a base of another family, and for one to which nothing corresponds;
    that what corresponds has no delta (quantised weights) is no reason to refuse it.
    """
    there = base.tensors
    names = map_with_variants(there, checkpoint.tensors, checkpoint.variants)
    found: dict[str, Counterpart] = {}
    reasons: dict[str, RawReason] = {one.tensor: one.reason for one in names.unmatched}
    for one in names.correspondences:
        counterpart = _counterpart(checkpoint.tensors[one.tensor], one.base, base)
        if isinstance(counterpart, Counterpart):
            found[one.tensor] = counterpart
        else:
            reasons[one.tensor] = counterpart
    if not names.correspondences:
        raise BaseMismatch(
            f"{checkpoint.path} ({describe(checkpoint.tensors)}) shares no tensor with the base "
            f"{base.name!r} ({describe(there)}): {_lacking(checkpoint, names)}",
            "Give the base that the checkpoint was fine-tuned from.",
        )
    return Counterparts(found, reasons)


def _lacking(checkpoint: Checkpoint, names: NameMap) -> str:
    other_shapes = [one.tensor for one in names.unmatched if one.reason == "shape"]
    if other_shapes:
        some = ", ".join(repr(name) for name in other_shapes[:3])
        return f"{len(other_shapes)} have its names, and other shapes, such as {some}"
    some = ", ".join(repr(name) for name in list(checkpoint.tensors)[:3]) or "none at all"
    return f"it has {some}"


def _counterpart(
    info: TensorInfo, names: ViewedTensors[str], base: BaseWeights
) -> Counterpart | RawReason:
    tensors = names.resolve(base.tensors)
    viewed = tensors.shape
    longer = len(info.shape) == len(viewed) and info.shape[:1] > viewed[:1]
    new_rows = info.shape[0] - viewed[0] if longer else 0
    dtypes = [tensor.dtype for tensor in tensors.tensors]
    reason = lacks_delta(info.dtype, dtypes)
    if reason is not None and (new_rows or not can_be_same(info.dtype, dtypes)):
        return reason
    shape = (info.shape[0] - new_rows, *info.shape[1:]) if new_rows else info.shape
    return Counterpart(tensors, shape, new_rows)
