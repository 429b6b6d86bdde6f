"""What the encoder makes of one tensor: one class per kind of record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .exact import Components

Reason = Literal["dtype", "non_finite", "signed_zero", "constant", "smaller", "range"]


@dataclass(frozen=True)
class Same:
    """The source's bits are the base's, cast."""


@dataclass(frozen=True)
class LowRank:
    """A delta as components. `singular_values`: float32 (r,), falling; norms in the weights' unit.

    `energy` is E(r); `nuclear_norm` the sum of all singular values; `base_norm` and `norm` the
    base's and the delta's Frobenius norms; `error` the Frobenius norm of (result - source) over
    `norm`, as it is read back.
    """

    components: Components
    singular_values: npt.NDArray[np.float32]
    tau_rank: int
    noise_rank: int
    energy: float
    nuclear_norm: float
    base_norm: float
    norm: float
    error: float


@dataclass(frozen=True)
class Dense:
    """A delta as one integer per element (flat int32) times 2^exponent; `norm`, `error` as above."""

    values: npt.NDArray[np.int32]
    exponent: int
    base_norm: float
    norm: float
    error: float


@dataclass(frozen=True)
class Raw:
    """The source's own bytes are to be stored, for `reason`."""

    reason: Reason


Encoded = Same | LowRank | Dense | Raw
