"""What a residual says, as plain values (spec/dsvd-residual-v1.md, section "Header")."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..container.records import Result
from .ordered import FORMATS, FloatFormat
from .run import ELEMENTS

COMPONENT_NUMBERS = 1 << 22  # of a frame of components; one component may have more


@dataclass(frozen=True)
class ResidualTensor:
    """A tensor whose result is not its source. `shape` is that of the part with a counterpart.

    `rank`: of the components that come on top of the container's.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    rank: int

    @property
    def of(self) -> FloatFormat:
        """The format of its numbers."""
        return FORMATS[self.dtype]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """As its components see it; of tensors of two dimensions or more."""
        return self.shape[0], math.prod(self.shape[1:])

    @property
    def component_counts(self) -> tuple[int, ...]:
        """How many components each of its frames of components has."""
        if not self.rank:
            return ()
        most = max(1, COMPONENT_NUMBERS // sum(self.matrix_shape))
        return tuple(min(most, self.rank - first) for first in range(0, self.rank, most))

    @property
    def runs(self) -> int:
        """How many runs its elements are."""
        return -(-self.elements // ELEMENTS)

    @property
    def frames(self) -> int:
        """How many frames it has: a table and components if there are any, and its runs."""
        return (1 if self.rank else 0) + len(self.component_counts) + self.runs

    def run_elements(self, number: int) -> int:
        """Elements of one of its runs."""
        return min(ELEMENTS, self.elements - number * ELEMENTS)


@dataclass(frozen=True)
class ResidualFrame:
    """One zstd frame. `offset` is from the start of the file, and not stored."""

    raw: int
    stored: int
    xxh3: str
    offset: int = 0


@dataclass(frozen=True)
class ResidualHeader:
    """All of the JSON header. `container`: SHA-256 of the container that it goes with.

    `tensors` are sorted by the UTF-8 bytes of their names; their frames follow each other in that
    order. `results`: the source's files again.
    """

    container: str
    tensors: tuple[ResidualTensor, ...]
    frames: tuple[ResidualFrame, ...]
    results: tuple[Result, ...]
