"""The loops over the elements of a run, which take most of the time of a lossless version.

All kernels give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..codec.weights import Weights
from .digits import Digits
from .ordered import Bits, FloatFormat
from .predicted import Predicted


class Order(Protocol):
    """The order of a run's elements by group; within a group they stand as in the tensor."""

    @property
    def counts(self) -> list[int]:
        """The number of elements in each group."""

    def differences(self, source: Bits) -> Bits:
        """The differences of a source from the prediction in zigzag form, sorted by group.

        The thread's next call overwrites them.
        """

    def restore(self, ordered: Bits, out: Bits) -> None:
        """Inverse of `differences`: write the bits of the source to `out`."""


class Kernels(Protocol):
    """The loops over elements of a format. Several threads may use them at once."""

    def rounded(self, unrounded: Weights, of: FloatFormat) -> Predicted:
        """The prediction of numbers by flat F32 weights, which are rounded to their format.

        The thread's next call overwrites it. A NaN or an infinity gives one of them.
        """

    def order(self, predicted: Predicted, lasts: Sequence[int]) -> Order:
        """The order by groups, of which `lasts` are the largest classes, ascending."""

    def join(self, out: Bits, digits: Digits, low: Digits, shift: int) -> None:
        """Write (digit << shift) | low bits of each element to `out`.

        `low`: the bytes of the low bits, a plane after another, ceil(shift / 8) of them.
        """

    def split(self, values: Bits, shift: int, base: int, digits: Digits, low: Digits) -> None:
        """Write min(value >> shift, base - 1) to `digits`, and the low bits to `low`; see `join`."""
