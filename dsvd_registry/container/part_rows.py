"""Which layout a container's rows of integers have, and which rows a part is."""

from __future__ import annotations

from .packed import PACKED
from .planes import PLANES
from .records import DenseRecord, Header, LowRankRecord, Part
from .rows import Layout, Rows
from .table import ComponentTable


def layout_of(header: Header) -> Layout:
    """That of every `components` and `elements` frame of the container."""
    return PACKED if header.packed else PLANES


def component_rows(record: LowRankRecord, table: ComponentTable) -> list[Rows]:
    """Two groups: the rows of a and of b of the components of `table`."""
    sides = zip(record.matrix_shape, (table.max_a, table.max_b), strict=True)
    return [Rows(length, maxima) for length, maxima in sides]


def element_rows(record: DenseRecord, part: Part) -> list[Rows]:
    """One row, of all elements of the part."""
    return [Rows.one(part.count, record.maximum)]
