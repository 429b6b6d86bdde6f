"""Names of schemes of quantised weights, told from a record's rule and the dtype of its scales."""

from __future__ import annotations

import pytest

from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.container.quantisation import Quantisation, Scale


@pytest.mark.parametrize(
    ("dtype", "block", "columns", "told"),
    [
        ("F32", (64, 32), 32, "fp8 e4m3, one scale"),
        ("F32", (1, 32), 32, "fp8 e4m3, a scale a row"),
        ("F32", (1, 64), 64, "fp8 e4m3, a scale a row"),
        ("F32", (16, 32), 64, "fp8 e4m3, a scale a block"),
        ("U8", (1, 32), 64, "fp8 e4m3, a scale a block"),
        ("U8", (1, 32), 32, "fp8 e4m3, a scale a block"),
        ("F8_E8M0", (1, 32), 32, "fp8 e4m3, a scale a block"),
    ],
)
def test_what_shares_a_scale(dtype: str, block: tuple[int, int], columns: int, told: str) -> None:
    """A block of MXFP8 is 32 columns, also where the matrix has no more."""
    tensors = [TensorInfo("w", "F8_E4M3", (64, columns)), TensorInfo("w_scale", dtype, (64,))]
    scale = Scale(1, *block, "rows", 1.0, None, "multiply", None)
    rule = Quantisation("e4m3", "low", columns, "divide", scale, None)
    assert rule.scheme(tensors) == told
