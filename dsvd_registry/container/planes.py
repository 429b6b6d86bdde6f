"""Rows as version 1 lays them out: group after group, in byte planes (spec, section "Components")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from .integers import Int32, magnitude, unzigzag, widths, zigzag
from .rows import FrameRows, Int64, Rows, Run


class Planes:
    """A layout: the lowest bytes of all rows of a group, then the second bytes of the wider ones, ..."""

    def size(self, rows: Rows) -> int:
        return rows.length * int(widths(rows.maxima).sum())

    def pack(self, values: Int32, rows: Rows) -> Iterator[Run]:
        taken = widths(rows.maxima)
        coded = zigzag(values)
        planes = (
            (coded[taken > plane] >> (8 * plane)).astype(np.uint8).tobytes()
            for plane in range(int(taken.max()))
        )
        yield Run((0, 0), b"".join(planes))

    def frame(self, groups: Sequence[Rows]) -> FrameRows:
        return _Frame(self, groups)


class _Frame:
    def __init__(self, layout: Planes, groups: Sequence[Rows]) -> None:
        self._groups = groups
        self._starts = list(accumulate(map(layout.size, groups), initial=0))

    def read(self, content: memoryview, group: int, out: Int32) -> Int64:
        taken = widths(self._groups[group].maxima)
        coded, position = out.view(np.uint32), self._starts[group]
        for plane in range(int(taken.max())):
            rows = np.flatnonzero(taken > plane)
            data = content[position : position + len(rows) * out.shape[1]]
            values = np.frombuffer(data, np.uint8).reshape(-1, out.shape[1])
            if plane == 0:  # of every row
                coded[:] = values
            else:
                coded[rows] |= values.astype(np.uint32) << (8 * plane)
            position += len(data)
        largest: Int64 = magnitude(coded.max(axis=1).astype(np.int64))
        unzigzag(coded)
        return largest


PLANES = Planes()
