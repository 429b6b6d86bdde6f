"""A fine-tune with its base: counterparts of its tensors there, and tensors that are others, rounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.tensor_info import BITS, DELTA_DTYPES
from ..codec.exact_product import cast
from ..codec.tensor_order import in_order
from ..codec.weights import Weights
from ..container.records import BaseTensor, CastRecord, RawReason, Source, record_numbers
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
from .quantised_schemes import QuantisedTensor, before_quantisation, find_quantised

BLOCK = 1 << 20  # elements compared at once; most tensors that differ do in the first few
# The other tensor may come back larger than it was, and still has to be finite in this precision.
ROOM = 2.0
LARGEST = {"F32": 3.4e38, "F16": 65504.0, "BF16": 3.38e38}


def find_casts(checkpoint: Checkpoint) -> Mapping[str, CastRecord]:
    """The record of each tensor of a variant that is the rounding of one beside it, by name.

    Beside the weights of a model there may be a variant of them in half precision. Where it is nothing
    but their rounding, bit for bit, it is stored as that, and not as a change of the base once more.

    Raises `CheckpointError`.
    """
    numbers = record_numbers(checkpoint.tensors)

    def look(group: list[TensorInfo]) -> list[CastRecord]:
        first, *variants = group
        whole, found = [first], []
        for info in variants:
            other = next((one for one in whole if _is_cast(checkpoint, one, info)), None)
            if other is None:
                whole.append(info)
            else:
                found.append(CastRecord(info.name, info.dtype, info.shape, numbers[other.name]))
        for info in group:
            checkpoint.release(info.name)
        return found

    groups = list(_groups(checkpoint))
    with in_order(look, groups, lambda group: sum(info.elements for info in group)) as made:
        return {record.name: record for records in made for record in records}


def _groups(checkpoint: Checkpoint) -> Iterator[list[TensorInfo]]:
    """The tensors of one name in a model and in its variants, that of the model first.

    Of the variants those of higher precision first: others are more likely to be roundings of them.
    """
    variants = checkpoint.variants
    groups: dict[str, list[TensorInfo]] = defaultdict(list)
    for name, info in checkpoint.tensors.items():
        own = [prefix for prefix in variants if name.startswith(prefix)]
        prefix = max(own, key=len, default="")
        main = variants[prefix] + name.removeprefix(prefix) if own else name
        if info.dtype in DELTA_DTYPES:
            groups[main].append(info)
    for main, group in groups.items():
        if len(group) > 1:
            yield sorted(group, key=lambda one: (one.name != main, -BITS[one.dtype], one.name))


def _is_cast(checkpoint: Checkpoint, other: TensorInfo, info: TensorInfo) -> bool:
    """True if a tensor is `other` rounded, with room for what a changed `other` may be."""
    if other.shape != info.shape:
        return False
    pair = other, info
    copiers = [checkpoint.copier(one.name) for one in pair]
    widths = [BITS[one.dtype] // 8 for one in pair]
    for first in range(0, info.elements, BLOCK):
        count = min(BLOCK, info.elements - first)
        held = [np.empty(count * width, np.uint8) for width in widths]
        for copy, width, memory in zip(copiers, widths, held, strict=True):
            copy(first * width, memory)
        whole, expected = held
        rounded = np.empty_like(expected)
        values = Weights.over(rounded, (-1,), info.dtype)
        cast(Weights.over(whole, (-1,), other.dtype), values)
        if not np.array_equal(rounded, expected):
            return False
        if not np.abs(values.widened()).max() <= LARGEST[info.dtype] / ROOM:  # nor of a NaN
            return False
    return True


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


def find_counterparts(
    checkpoint: Checkpoint, base: BaseWeights, quantised: Mapping[str, QuantisedTensor]
) -> Counterparts:
    """Find the counterparts by names, dtypes and shapes alone; of `quantised` as it was before.

    Raises `BaseMismatch` for a base of another family, and for one without any counterpart. A base
    whose counterparts allow no delta, such as quantised weights, is accepted.
    """
    tensors, own_names = before_quantisation(checkpoint.tensors, quantised)
    names = map_with_variants(base.tensors, tensors, checkpoint.variants)
    found: dict[str, Counterpart] = {}
    reasons: dict[str, RawReason] = {
        own_names.get(one.tensor, one.tensor): one.reason for one in names.unmatched
    }
    for match in names.correspondences:
        counterpart = _counterpart(tensors[match.tensor], match.base, base)
        name = own_names.get(match.tensor, match.tensor)
        if isinstance(counterpart, Counterpart) and not (
            name in quantised and counterpart.new_rows
        ):
            found[name] = counterpart
        else:
            reasons[name] = counterpart if isinstance(counterpart, str) else "shape"
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


def _is_quantised_alike(info: TensorInfo, base: BaseWeights) -> bool:
    """True if the base has such codes itself: they are the same, or differ as any integers do."""
    own = base.tensors.get(info.name)
    return own is not None and (own.dtype, own.shape) == (info.dtype, info.shape)


@dataclass(frozen=True)
class FineTune:
    """A checkpoint, its base, and the counterparts of its tensors in that base.

    `source`: the format, digest and size of the checkpoint. `casts`: the records of tensors that are
    other tensors of the checkpoint, rounded. `quantised`: those that have counterparts as the weights
    that they were before, and rules by which these may have been quantised.
    """

    checkpoint: Checkpoint
    source: Source
    base: BaseWeights
    counterparts: Counterparts
    casts: Mapping[str, CastRecord]
    quantised: Mapping[str, QuantisedTensor]

    @classmethod
    def of(cls, checkpoint: Checkpoint, source: Source, base: BaseWeights) -> FineTune:
        """Find the counterparts and the casts.

        Raises `BaseMismatch` if the base does not belong to the checkpoint, `CheckpointError`.
        """
        seen = {
            name: tensor
            for name, tensor in find_quantised(checkpoint).items()
            if not _is_quantised_alike(checkpoint.tensors[name], base)
        }
        known = {name: tensor for name, tensor in seen.items() if tensor.rules}
        counterparts, casts = find_counterparts(checkpoint, base, known), find_casts(checkpoint)
        numbers = record_numbers(checkpoint.tensors)
        based = {numbers[name] for name in counterparts.found.keys() | casts.keys()}
        # Scales that are not stored as they are serve no rule.
        known = {name: one for name, one in known.items() if not one.companions & based}
        reasons = dict(counterparts.reasons)
        found = {
            name: one
            for name, one in counterparts.found.items()
            if name in known or name not in seen or not seen[name].rules
        }
        for name in seen.keys() - known.keys():
            if name not in found:
                reasons[name] = "scheme"
        quantised = {name: tensor for name, tensor in known.items() if name in found}
        return cls(checkpoint, source, base, Counterparts(found, reasons), casts, quantised)

    @cached_property
    def record_names(self) -> list[str]:
        """The names of all tensors, in the order of their records."""
        return list(record_numbers(self.checkpoint.tensors))

    def without_quantised(self) -> FineTune:
        """The same, where quantised weights are stored raw: nothing lossy is made of them."""
        counterparts, names = self.counterparts, self.quantised.keys()
        found = {name: one for name, one in counterparts.found.items() if name not in names}
        reasons: dict[str, RawReason] = dict(counterparts.reasons)
        reasons |= dict.fromkeys(names, "quantised")
        return replace(self, counterparts=Counterparts(found, reasons), quantised={})
