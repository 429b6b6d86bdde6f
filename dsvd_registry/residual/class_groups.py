"""Groups of elements by the class of their prediction (spec, "Runs").

The spacing of floating-point numbers grows with their magnitude. The same prediction error is many
steps for a small number, and few for a large one. Within a group differences are of similar size,
so one code suits them. An element that was rounded from close to a border differs more often.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ..errors import ContainerError
from .digits import BASES, per_byte
from .ordered import Bits, ElementFormat
from .predicted import Predicted

LEAST_SHARE, LEAST_COUNT = 32, 2048  # a group has at least 1/32 of its run, and 2048 elements
SAMPLE = 1 << 12  # elements of a run, or of a group, by which codes are chosen
SHIFTS = (0, 1, 2, 4, 8)  # reductions that are tried of the shift at which few elements overflow
RARE = 2.0**-9  # share of a group that may overflow its digits
_ENTRY = np.dtype([("last", "<u2"), ("shift", "u1"), ("code", "u1")])


@dataclass(frozen=True)
class Group:
    """The elements whose class is at most `last`, and above the previous group's.

    `shift`: the number of lowest bits of a difference that are stored separately. `base`: the base
    of the digit for the other bits; its largest value marks an overflow, whose bits are stored
    elsewhere.
    """

    last: int
    shift: int
    base: int

    @property
    def low_planes(self) -> int:
        """The bytes that the lowest bits of an element take."""
        return (self.shift + 7) // 8


def pack_groups(groups: tuple[Group, ...]) -> bytes:
    """Encode groups: their number minus one, then four bytes for each."""
    entries = [(group.last, group.shift, BASES.index(group.base)) for group in groups]
    return bytes((len(groups) - 1,)) + np.array(entries, _ENTRY).tobytes()


def groups_size(count: int) -> int:
    """The bytes that so many packed groups take."""
    return 1 + _ENTRY.itemsize * count


def unpack_groups(content: memoryview, of: ElementFormat) -> tuple[Group, ...]:
    """Inverse of `pack_groups`, from the start of a run's bytes. Raises `ContainerError`."""
    count = content[0] + 1 if len(content) else 1
    if len(content) < groups_size(count):
        raise ContainerError("a run ends inside its groups")
    entries = np.frombuffer(content[1 : groups_size(count)], _ENTRY)
    lasts = entries["last"].tolist()
    if any(left >= right for left, right in itertools.pairwise(lasts)):
        raise ContainerError("the groups of a run are not in order")
    if lasts[-1] != of.last_class:
        raise ContainerError("the groups of a run do not have all classes")
    if (entries["shift"] >= of.bits).any() or (entries["code"] >= len(BASES)).any():
        raise ContainerError("a group of a run has a shift or a base that there is not")
    return tuple(Group(last, shift, BASES[base]) for last, shift, base in entries.tolist())


def classes_apart(predicted: Predicted) -> tuple[int, ...]:
    """Choose groups that are worth a code of their own, by a sample; their last classes, ascending."""
    elements, last_class = len(predicted), predicted.of.last_class
    sample = predicted.classes[:: max(1, elements // SAMPLE)]
    counts = np.bincount(sample, minlength=last_class + 1) * (elements / len(sample))
    least = max(LEAST_COUNT, elements / LEAST_SHARE)
    lasts, held, left = [last_class], 0.0, float(elements)
    for one in range(last_class, 0, -1):
        held += counts[one]
        left -= counts[one]
        if held >= least and left >= least:
            lasts.append(one - 1)
            held = 0.0
    return tuple(reversed(lasts))


def best_code(values: Bits, bits: int) -> tuple[int, int]:
    """The shift and the base that take the fewest bytes for these differences, by a sample."""
    sample = values[:: max(1, len(values) // SAMPLE)].copy()  # near each other, to read them often
    if not len(sample):
        return 0, BASES[0]
    place = len(sample) - 1 - int((len(sample) - 1) * RARE)
    usual = int(np.partition(sample, place)[place])
    shift = max(0, min(usual.bit_length() - 8, bits - 1))
    if not shift:
        return 0, min(BASES, key=lambda base: _cost(sample, 0, base, bits))
    # If a few are far larger than the others, letting them overflow may be cheaper.
    shifts = (shift - less for less in SHIFTS if less <= shift)
    return min(shifts, key=lambda tried: _cost(sample, tried, BASES[-1], bits)), BASES[-1]


def _cost(sample: Bits, shift: int, base: int, bits: int) -> float:
    """The expected bits of an element; a byte of digits takes at least one bit."""
    digits = np.minimum(sample >> shift, base - 1).astype(np.int64)
    shares = np.bincount(digits, minlength=base) / len(sample)
    present = shares[shares > 0]
    entropy = -float(present @ np.log2(present))
    outside = float(shares[-1]) * min(bits, math.log2(1 + (int(sample.max()) >> shift)) + 1)
    return max(entropy, 1 / per_byte(base)) + shift + outside
