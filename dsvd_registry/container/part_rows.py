"""The layout of a container's rows of integers, and the rows of its parts."""

from __future__ import annotations

from .packed import PACKED
from .planes import PLANES
from .records import DenseRecord, Header, LowRankRecord, Part
from .rows import Layout, Rows
from .table import ComponentTable


def layout_of(header: Header) -> Layout:
    """The layout of all `components` and `elements` frames of the container."""
    return PACKED if header.packed else PLANES


def component_rows(record: LowRankRecord, table: ComponentTable) -> list[Rows]:
    """The two groups of rows, of a and of b, for the components of `table`."""
    sides = zip(record.matrix_shape, (table.max_a, table.max_b), strict=True)
    return [Rows(length, maxima) for length, maxima in sides]


def element_rows(record: DenseRecord, part: Part) -> list[Rows]:
    """A single row with all elements of the part."""
    return [Rows.one(part.count, record.maximum)]
