"""All kernels, by name: numpy's, the loops run by Python with every index checked, compiled ones."""

from __future__ import annotations

import numpy as np

from dsvd_registry.residual import loops
from dsvd_registry.residual.compiled import (
    ROUNDINGS,
    CompiledKernels,
    Loop,
    Loops,
    compiled_kernels,
)
from dsvd_registry.residual.kernels import Kernels
from dsvd_registry.residual.numpy_kernels import NUMPY

COMPILED = {dtype: compiled_kernels(dtype) for dtype in ("F32", "F16", "BF16")}


def interpreted(dtype: str) -> CompiledKernels:
    """The loops as Python runs them, an element at a time."""
    rounding = ROUNDINGS.get(dtype)
    return CompiledKernels(
        Loops(
            count=_wrapping(loops.count),
            restore=_wrapping(loops.restore),
            sort=_wrapping(loops.sort),
            join=_wrapping(loops.join),
            split=_wrapping(loops.split),
            round=None if rounding is None else _wrapping(rounding),
        )
    )


def kernels(dtype: str) -> dict[str, Kernels]:
    return {"numpy": NUMPY, "loops": interpreted(dtype), "compiled": COMPILED[dtype]}


def _wrapping(loop: Loop) -> Loop:
    """Overflow wraps, which numpy would warn of."""

    def run(*arguments: object) -> None:
        with np.errstate(over="ignore"):
            loop(*arguments)

    return run
