"""Floating-point elements as numpy arrays, for the dtypes that can have a delta."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float32]


def numbers(data: memoryview, dtype: str) -> Numbers:
    """Convert little-endian elements of one of `DELTA_DTYPES` to float32, which is exact for all."""
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)
    return np.frombuffer(data, "<f4" if dtype == "F32" else "<f2").astype(np.float32)
