"""Kernels in numpy, a tile at a time: the reference of all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..codec.exact_product import cast
from ..codec.weights import WORDS, Weights, scratch
from .digits import Digits
from .kernels import Order
from .ordered import Bits, FloatFormat
from .predicted import Predicted, differences, predicted_floats, restored, tiles

Int64 = npt.NDArray[np.int64]


class NumpyKernels:
    """Kernels that need numpy alone, for elements of every format; see `Kernels`."""

    def rounded(self, unrounded: Weights, of: FloatFormat) -> Predicted:
        words = unrounded.words
        result = unrounded
        if of.cut:
            result = Weights(scratch.array("rounded", words.shape, WORDS[of.dtype]), of.dtype)
            cast(unrounded, result)
        return predicted_floats(result.words.view(of.unsigned), words.view(np.uint32), of)

    def order(self, predicted: Predicted, lasts: Sequence[int]) -> Order:
        return SortedOrder(predicted, lasts)

    def join(self, out: Bits, digits: Digits, low: Digits, shift: int) -> None:
        planes = low.reshape(-1, len(out)) if len(out) else ()
        for part in tiles(len(out)):
            tile = out[part]
            tile[:] = digits[part]
            tile <<= shift
            for number, plane in enumerate(planes):
                wide = plane[part].astype(out.dtype)
                wide <<= 8 * number
                tile |= wide

    def split(self, values: Bits, shift: int, base: int, digits: Digits, low: Digits) -> None:
        planes = low.reshape(-1, len(values)) if len(values) else ()
        of = values.dtype.type
        for part in tiles(len(values)):
            tile = values[part]
            np.minimum(tile >> of(shift), of(base - 1), out=digits[part], casting="unsafe")
            own = tile & of((1 << shift) - 1)
            for number, plane in enumerate(planes):
                np.right_shift(own, of(8 * number), out=plane[part], casting="unsafe")


class SortedOrder:
    """The order of a run's elements by group, found by sorting the groups of each tile; see `Order`."""

    def __init__(self, predicted: Predicted, lasts: Sequence[int]) -> None:
        self._predicted = predicted
        self._group_of = np.empty(len(predicted), np.uint8)
        counts = []
        for part in tiles(len(predicted)):
            found = predicted.classes[part]
            own = self._group_of[part]
            own[:] = 0
            behind = [len(found)]  # elements in each group or a later one
            for last in lasts[:-1]:
                is_behind = found > last
                own += is_behind
                behind.append(int(np.count_nonzero(is_behind)))
            counts.append(-np.diff([*behind, 0]))
        self._counts: Int64 = np.array(counts)

    @property
    def counts(self) -> list[int]:
        """The number of elements in each group."""
        found: list[int] = self._counts.sum(axis=0).tolist()
        return found

    def differences(self, source: Bits) -> Bits:
        predicted = self._predicted
        ordered = scratch.array("ordered", (len(predicted),), predicted.of.unsigned)
        for part, order, runs in self._tiles():
            of_tile = differences(source[part], predicted.part(part))
            moved = np.take(of_tile, order, mode="clip")  # all in range: skips a check
            taken = 0
            for place, count in runs:
                ordered[place : place + count] = moved[taken : taken + count]
                taken += count
        return ordered

    def restore(self, ordered: Bits, out: Bits) -> None:
        for part, order, runs in self._tiles():
            tile = np.empty(len(order), ordered.dtype)
            tile[order] = np.concatenate([ordered[place : place + count] for place, count in runs])
            out[part] = restored(tile, self._predicted.part(part))

    def _tiles(self) -> Iterator[tuple[slice, Int64, list[tuple[int, int]]]]:
        """Each tile, the sorted order of its elements, and the positions of its groups."""
        starts = np.concatenate([[0], self._counts.sum(axis=0).cumsum()[:-1]])
        places = starts + self._counts.cumsum(axis=0) - self._counts
        of_tiles = zip(tiles(len(self._group_of)), places, self._counts, strict=True)
        for part, of_tile, counts in of_tiles:
            order = np.argsort(self._group_of[part], kind="stable")
            yield part, order, list(zip(of_tile.tolist(), counts.tolist(), strict=True))


NUMPY = NumpyKernels()
