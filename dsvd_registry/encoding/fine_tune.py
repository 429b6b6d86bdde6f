"""A fine-tune with its base, and the counterparts of its tensors there, in whatever layout either is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..checkpoint import Checkpoint, TensorInfo
from ..container.records import BaseTensor, CastRecord, RawReason, Source
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
from .casts import find_casts


@dataclass(frozen=True)
class Counterpart:
    """Tensors of a base that become, through their view, the counterpart of a source tensor.

    `shape`: the shape of the rows that both have. `new_rows`: the number of further rows at the end
    of the source tensor.
    """

    base: ViewedTensors[BaseTensor]
    shape: tuple[int, ...]
    new_rows: int


@dataclass(frozen=True)
class Counterparts:
    """The counterpart of every tensor of a fine-tune, or the reason that it is stored raw."""

    found: Mapping[str, Counterpart]
    reasons: Mapping[str, RawReason]


def find_counterparts(checkpoint: Checkpoint, base: BaseWeights) -> Counterparts:
    """Find the counterparts by names, dtypes and shapes alone.

    Raises `BaseMismatch` for a base of another family, and for one without any counterpart. A base
    whose counterparts allow no delta, such as quantised weights, is accepted.
    """
    names = map_with_variants(base.tensors, checkpoint.tensors, checkpoint.variants)
    found: dict[str, Counterpart] = {}
    reasons: dict[str, RawReason] = {one.tensor: one.reason for one in names.unmatched}
    for match in names.correspondences:
        counterpart = _counterpart(checkpoint.tensors[match.tensor], match.base, base)
        if isinstance(counterpart, Counterpart):
            found[match.tensor] = counterpart
        else:
            reasons[match.tensor] = counterpart
    if not names.correspondences:
        raise BaseMismatch(
            f"{checkpoint.path} ({describe(checkpoint.tensors)}) shares no tensor with the base "
            f"{base.name!r} ({describe(base.tensors)}): {_difference(checkpoint, names)}",
            "Give the base that the checkpoint was fine-tuned from.",
        )
    return Counterparts(found, reasons)


def _difference(checkpoint: Checkpoint, names: NameMap) -> str:
    wrong_shapes = [one.tensor for one in names.unmatched if one.reason == "shape"]
    if wrong_shapes:
        some = ", ".join(repr(name) for name in wrong_shapes[:3])
        return f"{len(wrong_shapes)} have its names, but other shapes, such as {some}"
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


@dataclass(frozen=True)
class FineTune:
    """A checkpoint, its base, and the counterparts of its tensors in that base.

    `source`: the format, digest and size of the checkpoint. `casts`: the records of tensors that are
    other tensors of the checkpoint, rounded.
    """

    checkpoint: Checkpoint
    source: Source
    base: BaseWeights
    counterparts: Counterparts
    casts: Mapping[str, CastRecord]

    @classmethod
    def of(cls, checkpoint: Checkpoint, source: Source, base: BaseWeights) -> FineTune:
        """Find the counterparts and the casts.

        Raises `BaseMismatch` if the base does not belong to the checkpoint, `CheckpointError`.
        """
        counterparts = find_counterparts(checkpoint, base)
        return cls(checkpoint, source, base, counterparts, find_casts(checkpoint))
