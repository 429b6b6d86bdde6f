"""Component tables: figures of a tensor's components (spec, section "Component tables")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..codec.arithmetic import subnormals_kept
from ..codec.components import EXACT_FP64, magnitude_bound
from ..errors import ContainerError
from . import limits
from .rows import join_planes, split_planes

TABLE_ENTRY_SIZE = 13
CHECKED = 1 << 14  # components that are converted to Python integers at a time


@dataclass(frozen=True)
class ComponentTable:
    """The figures of r components, which are known before any of their numbers is decoded.

    `exponents`, and the largest magnitudes `max_a` and `max_b`: int64 (r,). `singular_values`:
    float32 (r,), falling.
    """

    exponents: npt.NDArray[np.int64]
    max_a: npt.NDArray[np.int64]
    max_b: npt.NDArray[np.int64]
    singular_values: npt.NDArray[np.float32]

    @property
    def rank(self) -> int:
        return len(self.exponents)

    def rows(self, first: int, end: int) -> ComponentTable:
        """The table of components first..end-1."""
        part = slice(first, end)
        return ComponentTable(
            self.exponents[part], self.max_a[part], self.max_b[part], self.singular_values[part]
        )

    @staticmethod
    def joined(tables: Sequence[ComponentTable]) -> ComponentTable:
        """One table of all components, in order."""
        return ComponentTable(
            np.concatenate([table.exponents for table in tables]),
            np.concatenate([table.max_a for table in tables]),
            np.concatenate([table.max_b for table in tables]),
            np.concatenate([table.singular_values for table in tables]),
        )

    def check(self) -> None:
        """Check the limits of each component and the exactness bound. Raises `ContainerError`."""
        singular_values = self.singular_values
        if not (np.isfinite(singular_values).all() and (singular_values > 0).all()):
            raise ContainerError("a singular value is not finite and positive")
        if (np.diff(singular_values) > 0).any():
            raise ContainerError("the singular values do not fall")
        for name, maxima in (("a", self.max_a), ("b", self.max_b)):
            if (maxima < 1).any():
                raise ContainerError(f"a component's {name} is all zero")
            if (maxima > limits.MAX_MAGNITUDE).any():
                raise ContainerError(f"a component's {name} is over {limits.MAX_MAGNITUDE}")
        bound, least = 0, int(self.exponents.min())
        for first in range(0, self.rank, CHECKED):
            part = self.rows(first, first + CHECKED)
            exponents, max_a, max_b = (
                part.exponents.tolist(),
                part.max_a.tolist(),
                part.max_b.tolist(),
            )
            for e, a, b in zip(exponents, max_a, max_b, strict=True):
                bits = a.bit_length() + b.bit_length()
                if e < limits.MIN_EXPONENT or e + bits > limits.MAX_EXPONENT:
                    raise ContainerError(f"a component's exponent {e} is outside the limits")
            bound += magnitude_bound(exponents, max_a, max_b) << (min(exponents) - least)
        if bound >= EXACT_FP64:
            raise ContainerError("the exactness bound is 2^53 or more")

    def rank_at(self, tau: float, nuclear_norm: float) -> int:
        """The smallest t whose singular values sum to `tau * nuclear_norm`; rank + 1 if none does.

        The sum is taken in float64 from the first value on, so every reader finds the same t.
        """
        return rank_at(self.singular_values, tau, nuclear_norm)

    def ranks_at(self, taus: Sequence[float], nuclear_norm: float) -> list[int]:
        """The result of `rank_at` for each tau."""
        return _ranks_at(self.singular_values, taus, nuclear_norm)


def rank_at(singular_values: npt.NDArray[np.float32], tau: float, nuclear_norm: float) -> int:
    """The result of `ComponentTable.rank_at` for these falling values."""
    return _ranks_at(singular_values, (tau,), nuclear_norm)[0]


@subnormals_kept()
def _ranks_at(
    singular_values: npt.NDArray[np.float32], taus: Sequence[float], nuclear_norm: float
) -> list[int]:
    sums = np.cumsum(singular_values.astype(np.float64))
    ranks: list[int] = (np.searchsorted(sums, np.array(taus) * nuclear_norm) + 1).tolist()
    return ranks


def pack_table(table: ComponentTable) -> bytes:
    """Encode a table: the exponents, then byte planes of max|a|, max|b| and the singular values.

    Each component takes `TABLE_ENTRY_SIZE` bytes.
    """
    return (
        table.exponents.astype(np.int8).tobytes()
        + split_planes(table.max_a.astype(np.uint32), 4)
        + split_planes(table.max_b.astype(np.uint32), 4)
        + split_planes(table.singular_values.astype("<f4").view("<u4"), 4)
    )


def unpack_table(data: memoryview, count: int) -> ComponentTable:
    """Inverse of `pack_table`; `data` has `TABLE_ENTRY_SIZE * count` bytes."""
    columns = data[count:]
    return ComponentTable(
        exponents=np.frombuffer(data[:count], np.int8).astype(np.int64),
        max_a=join_planes(columns[: 4 * count], count, 4).astype(np.int64),
        max_b=join_planes(columns[4 * count : 8 * count], count, 4).astype(np.int64),
        singular_values=join_planes(columns[8 * count :], count, 4).view(np.float32),
    )
