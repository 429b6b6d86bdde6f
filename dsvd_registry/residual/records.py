"""The contents of a residual's header as plain values (spec/dsvd-residual-v1.md, "Header")."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..container.records import Result
from .ordered import CODES, FORMATS, ElementFormat
from .run import ELEMENTS

RESIDUAL_FORMATS: dict[str, ElementFormat] = {
    **FORMATS,
    "F8_E4M3": CODES["e4m3"],
    "F8_E5M2": CODES["e5m2"],
    "I8": CODES["int8"],
    "U8": CODES["map"],  # those of `e2m1` have another order, which only a prediction tells
}
"""The elements of each dtype: floats, and codes of quantised weights, of which U8 has two a byte."""

COMPONENT_NUMBERS = 1 << 22  # in a frame of components; a single component may have more


@dataclass(frozen=True)
class ResidualTensor:
    """A tensor whose result differs from its source.

    `shape`: of the rows that have a counterpart in the base; of quantised weights, of their
    matrix. `rank`: the number of components that the residual adds to those of the container.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    rank: int

    @property
    def of(self) -> ElementFormat:
        """The format of its elements."""
        return RESIDUAL_FORMATS[self.dtype]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """The shape of its components' matrix, for tensors of at least two dimensions."""
        return self.shape[0], math.prod(self.shape[1:])

    @property
    def component_counts(self) -> tuple[int, ...]:
        """The number of components in each of its frames of components."""
        if not self.rank:
            return ()
        most = max(1, COMPONENT_NUMBERS // sum(self.matrix_shape))
        return tuple(min(most, self.rank - first) for first in range(0, self.rank, most))

    @property
    def runs(self) -> int:
        """The number of runs of its elements."""
        return -(-self.elements // ELEMENTS)

    @property
    def frames(self) -> int:
        """The number of its frames: a component table and components, if any, and its runs."""
        return (1 if self.rank else 0) + len(self.component_counts) + self.runs

    def source_bytes(self, elements: int) -> int:
        """The bytes that so many elements take in the source."""
        return elements * self.of.bits // 8

    def run_elements(self, number: int) -> int:
        """The number of elements in run `number`."""
        return min(ELEMENTS, self.elements - number * ELEMENTS)


def elements_of(tensors: Iterable[ResidualTensor]) -> dict[str, int]:
    """The number of elements of each dtype."""
    found: dict[str, int] = {}
    for tensor in tensors:
        found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.elements
    return found


@dataclass(frozen=True)
class ResidualFrame:
    """One zstd frame, of `raw` bytes and `stored` compressed ones.

    `offset`: from the start of the file; the header does not contain it.
    """

    raw: int
    stored: int
    sha256: str
    offset: int = 0


@dataclass(frozen=True)
class ResidualHeader:
    """The whole header of a residual.

    `container`: the SHA-256 of the container that it belongs to. `tensors`: sorted by the UTF-8
    bytes of their names; `frames` are in the same order. `results`: the source's files as they are
    restored.
    """

    container: str
    tensors: tuple[ResidualTensor, ...]
    frames: tuple[ResidualFrame, ...]
    results: tuple[Result, ...]
