"""The encoder's result for one tensor, a class for each record kind, and the figures stored with it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .components import Components


@dataclass(frozen=True, kw_only=True)
class DeltaFigures:
    """The figures of every delta.

    `base_norm`, `norm`: Frobenius norms of the base's part and of the true delta, in the unit of
    the weights. `error`: the Frobenius norm of (result - source) over `norm`, with the result as it
    is read back.
    """

    base_norm: float
    norm: float
    error: float


@dataclass(frozen=True, kw_only=True)
class LowRankFigures(DeltaFigures):
    """The figures of a delta that is stored as components.

    `tau_rank`, `noise_rank`: the two limits of the rank. `nuclear_norm`: the sum of all singular
    values.
    """

    tau_rank: int
    noise_rank: int
    nuclear_norm: float


_OF_DELTA = tuple(field.name for field in fields(DeltaFigures))
_OF_LOW_RANK = tuple(field.name for field in fields(LowRankFigures))


def delta_figures(delta: DeltaFigures) -> dict[str, Any]:
    """The figures of any delta by name, as arguments for another value."""
    return dict(zip(_OF_DELTA, attrgetter(*_OF_DELTA)(delta), strict=True))


def low_rank_figures(delta: LowRankFigures) -> dict[str, Any]:
    """The figures of a delta of components by name, as arguments for another value."""
    return dict(zip(_OF_LOW_RANK, attrgetter(*_OF_LOW_RANK)(delta), strict=True))


Reason = Literal["dtype", "non_finite", "signed_zero", "constant", "smaller", "range"]


@dataclass(frozen=True)
class Same:
    """A tensor whose bits are those of the base, cast to its dtype."""


@dataclass(frozen=True)
class LowRank(LowRankFigures):
    """A delta as r components. `singular_values`: float32 (r,), falling, unit of the weights."""

    components: Components
    singular_values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dense(DeltaFigures):
    """A delta as one integer for each element (flat int32), times 2^`exponent`."""

    values: npt.NDArray[np.int32]
    exponent: int


@dataclass(frozen=True)
class Raw:
    """A tensor whose own bytes are stored, for `reason`."""

    reason: Reason


Encoded = Same | LowRank | Dense | Raw
