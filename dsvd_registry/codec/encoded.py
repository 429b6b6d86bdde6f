"""What the encoder makes of one tensor: one class per kind of record."""

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
    """The source's bits are the base's, cast."""


@dataclass(frozen=True)
class LowRank(LowRankFigures):
    """A delta as components. `singular_values`: float32 (r,), falling, in the weights' unit."""

    components: Components
    singular_values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dense(DeltaFigures):
    """A delta as one integer per element (flat int32) times 2^exponent."""

    values: npt.NDArray[np.int32]
    exponent: int


@dataclass(frozen=True)
class Raw:
    """The source's own bytes are to be stored, for `reason`."""

    reason: Reason


Encoded = Same | LowRank | Dense | Raw
