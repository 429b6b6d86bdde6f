"""The layout of rows in plain version 1: byte planes, group after group (spec, "Components")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from .integers import Int32, magnitude, unzigzag, widths, zigzag
from .rows import FrameRows, Int64, Rows, Run


class Planes:
    """The layout of byte planes: the lowest bytes of all rows, then the second bytes of wider rows."""

    def size(self, rows: Rows) -> int:
        return rows.length * int(widths(rows.maxima).sum())

    def pack(self, values: Int32, rows: Rows) -> Iterator[Run]:
        row_widths = widths(rows.maxima)
        coded = zigzag(values)
        planes = (
            (coded[row_widths > plane] >> (8 * plane)).astype(np.uint8).tobytes()
            for plane in range(int(row_widths.max()))
        )
        yield Run((0, 0), b"".join(planes))

    def frame(self, groups: Sequence[Rows]) -> FrameRows:
        return _Frame(self, groups)


class _Frame:
    def __init__(self, layout: Planes, groups: Sequence[Rows]) -> None:
        self._groups = groups
        self._starts = list(accumulate(map(layout.size, groups), initial=0))

    def read(self, content: memoryview, group: int, out: Int32) -> Int64:
        row_widths = widths(self._groups[group].maxima)
        coded, position = out.view(np.uint32), self._starts[group]
        for plane in range(int(row_widths.max())):
            rows = np.flatnonzero(row_widths > plane)
            data = content[position : position + len(rows) * out.shape[1]]
            values = np.frombuffer(data, np.uint8).reshape(-1, out.shape[1])
            if plane == 0:  # every row has it
                coded[:] = values
            else:
                coded[rows] |= values.astype(np.uint32) << (8 * plane)
            position += len(data)
        largest: Int64 = magnitude(coded.max(axis=1).astype(np.int64))
        unzigzag(coded)
        return largest


PLANES = Planes()
