"""Finds the tensors of a folder that are others of it in another precision, bit for bit.

Beside the weights of a model there may be a variant of them in half precision: where it is nothing but
their rounding, it is stored as that, and not as a change of the base once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.tensor_info import BITS, DELTA_DTYPES
from ..codec.exact_product import cast
from ..codec.tensor_order import in_order
from ..codec.weights import Weights
from ..container.records import CastRecord

BLOCK = 1 << 20  # elements compared at once; most tensors that differ do in the first few
# The other tensor may come back larger than it was, and still has to be finite in this precision.
ROOM = 2.0
LARGEST = {"F32": 3.4e38, "F16": 65504.0, "BF16": 3.38e38}


def find_casts(checkpoint: Checkpoint) -> Mapping[str, CastRecord]:
    """The record of each tensor of a variant that is the rounding of one beside it, by name.

    Raises `CheckpointError`.
    """
    places = {name: at for at, name in enumerate(sorted(checkpoint.tensors, key=str.encode))}

    def look(group: list[TensorInfo]) -> list[CastRecord]:
        first, *variants = group
        whole, found = [first], []
        for info in variants:
            other = next((one for one in whole if _is_cast(checkpoint, one, info)), None)
            if other is None:
                whole.append(info)
            else:
                found.append(CastRecord(info.name, info.dtype, info.shape, places[other.name]))
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
