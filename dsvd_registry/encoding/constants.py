"""Tells constants from weights: they are kept to the bit, as a distance between two says nothing.

Position ids, noise schedules, running statistics and scales stand among the weights of a checkpoint.
They are often far larger than any change of a weight, and one that is a little off means something
else: so they are neither approximated nor counted in an error. This module owns the rule, which the
spec advises ("Constants").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..checkpoint.dtypes import BITS
from ..checkpoint.float_elements import Numbers, numbers
from .constant_names import is_constant_name

STEPS = 12  # that a sequence goes up or down by; numbers at random do once in 10^9
SMALL = 64  # elements of a tensor that its change alone may tell
UNLIKE_WEIGHTS = 0.5  # of the base's norm: no training changes weights as much
FROM_ZERO = 1.0  # the same where the base is zero: root mean square of the change
BLOCK = 1 << 16
# Below this every number that a dtype has is a half or finer, and integers are so by intention.
LEAST_OF_INTEGERS = {"F32": 2.0**23, "F16": 2.0**10, "BF16": 2.0**7}


@dataclass(frozen=True)
class Values:
    """The elements of a tensor of one of `DELTA_DTYPES`, as they lie in a file."""

    data: memoryview
    dtype: str

    @property
    def count(self) -> int:
        return len(self.data) // (BITS[self.dtype] // 8)

    def blocks(self) -> Iterator[Numbers]:
        """In float32, a few first: they tell most tensors of weights for what they are."""
        data, width = self.data, BITS[self.dtype] // 8
        first, size = 0, 2 * STEPS
        while first < self.count:
            yield numbers(data[first * width : (first + size) * width], self.dtype)
            first, size = first + size, BLOCK


def is_constant(names: Iterable[str], base: Values, source: Values) -> bool:
    """Whether a tensor is a constant: by any of its `names`, or by its values on either side.

    Both sides have one shape. Where there are no changes the answer counts for nothing.
    """
    return (
        is_constant_in_base(names, base)
        or is_sequence(source)
        or are_integers(source)
        or (source.count <= SMALL and _is_unlike_weights(base, source))
    )


def is_constant_in_base(names: Iterable[str], base: Values) -> bool:
    """Whether a tensor is a constant whatever became of it."""
    return (
        any(map(is_constant_name, names))
        or is_sequence(base)
        or are_integers(base, besides_units=True)
    )


def is_sequence(values: Values) -> bool:
    """Whether the elements never fall, or never rise, and change at `STEPS` places or more."""
    ups = downs = 0
    last = np.empty(0, np.float32)
    for block in values.blocks():
        if not np.isfinite(block).all():
            return False
        joined = np.concatenate([last, block])
        ups += int((joined[1:] > joined[:-1]).sum())
        downs += int((joined[1:] < joined[:-1]).sum())
        if ups and downs:
            return False
        last = block[-1:]
    return ups + downs >= STEPS


def are_integers(values: Values, *, besides_units: bool = False) -> bool:
    """Whether all elements are integers, not all the same, and could have been something else.

    `besides_units`: and not all of them 0, 1 or -1, which weights are that are about to be trained.
    """
    least, largest = math.inf, -math.inf
    for block in values.blocks():
        with np.errstate(invalid="ignore"):
            if not (np.isfinite(block).all() and (block == np.rint(block)).all()):
                return False
        least, largest = min(least, float(block.min())), max(largest, float(block.max()))
    greatest = max(-least, largest)
    is_chosen = least < largest and greatest < LEAST_OF_INTEGERS[values.dtype]
    return is_chosen and (greatest > 1 or not besides_units)


def _is_unlike_weights(base: Values, source: Values) -> bool:
    sides = [np.concatenate([np.empty(0, np.float32), *one.blocks()]) for one in (base, source)]
    if not all(np.isfinite(side).all() for side in sides):
        return False
    before, after = (side.astype(np.float64) for side in sides)
    change, norm = np.linalg.norm(after - before), np.linalg.norm(before)
    if norm:
        return bool(change > UNLIKE_WEIGHTS * norm)
    return bool(change > FROM_ZERO * math.sqrt(max(1, source.count)))
