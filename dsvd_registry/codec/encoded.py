"""The encoder's result for one tensor: one class for each record kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .components import Components
from .figures import DeltaFigures, LowRankFigures

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
