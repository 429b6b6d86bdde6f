"""Products are right with either library, and exact where integers are multiplied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsvd_registry.codec import products
from dsvd_registry.codec.products import gram, product

from .deltas import noise

LEAST_ROUNDING = 2.0**-21.5  # of the largest eigenvalue, for noise
SHAPES = [(3, 2, 5), (128, 160, 128), (90, 700, 1100)]


@pytest.fixture(params=["onednn", "numpy"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: request.param == "onednn")


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_is_right_whatever_the_order_of_its_factors(
    shape: tuple[int, int, int], transposed: tuple[bool, bool], dtype: torch.dtype
) -> None:
    m, k, n = shape
    a, b = noise(m, k).to(dtype), noise(k, n, seed=1).to(dtype)
    a, b = (f.T.contiguous().T if t else f for f, t in zip((a, b), transposed, strict=True))
    out = torch.empty(m, n, dtype=dtype)
    for found in (product(a, b), product(a, b, out)):
        assert found.dtype == dtype
        true = a.to(torch.float64).numpy() @ b.to(torch.float64).numpy()
        assert np.allclose(found.numpy(), true, rtol=0, atol=1e-5 * k**0.5)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_of_integers_is_exact(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    generator = torch.Generator().manual_seed(0)
    limit = int((2**23.9 / k) ** 0.5)
    a = torch.randint(-limit, limit + 1, (m, k), generator=generator)
    b = torch.randint(-limit, limit + 1, (k, n), generator=generator)
    found = product(a.to(torch.float32), b.to(torch.float32))
    assert torch.equal(found.to(torch.int64), a @ b)


@pytest.mark.parametrize("rows", [5, 159, 160, 161, 639, 961])
def test_the_upper_triangle_of_a_gram_matrix_is_right(rows: int) -> None:
    for columns in (300, 2100):
        wide = noise(rows, columns)
        true = wide.to(torch.float64) @ wide.to(torch.float64).T
        for dtype, off in ((torch.float32, max(1e-3, 2.0**-19 * columns)), (torch.float64, 1e-9)):
            for order in (wide, wide.T.contiguous().T):
                found = gram(order, dtype).triu()
                torch.testing.assert_close(found, true.triu(), rtol=0, atol=off)


def test_long_sums_are_taken_in_runs_short_enough() -> None:
    """Summed from the first to the last, they would be rounded to more than this."""
    wide = noise(640, 4096)
    off = (gram(wide, torch.float32) - gram(wide, torch.float64)).triu()
    largest = torch.linalg.matrix_norm(wide.to(torch.float64), ord=2) ** 2
    assert float(torch.linalg.matrix_norm(off + off.triu(1).T, ord=2)) <= (LEAST_ROUNDING * largest)


def test_large_single_precision_products_go_to_the_quicker_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the tests above would have tried one library twice."""
    asked = []
    by_onednn = products._by_onednn

    def counted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        asked.append(a.shape)
        return by_onednn(a, b)

    monkeypatch.setattr(products, "_by_onednn", counted)
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: True)
    product(noise(90, 700), noise(700, 1100))
    assert len(asked) == 1
    product(noise(9, 7), noise(7, 11))
    product(noise(90, 700).to(torch.float64), noise(700, 1100).to(torch.float64))
    assert len(asked) == 1


@pytest.mark.parametrize("side", [0, 1])
def test_a_library_that_rounds_either_factor_is_not_used(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN rounds a factor if the environment allows less precision."""

    def rounding(*factors: torch.Tensor) -> torch.Tensor:
        rounded = [f.to(torch.float16).float() if i == side else f for i, f in enumerate(factors)]
        return rounded[0] @ rounded[1]

    assert products._onednn_is_exact.__wrapped__()
    monkeypatch.setattr(products, "_by_onednn", rounding)
    assert not products._onednn_is_exact.__wrapped__()
