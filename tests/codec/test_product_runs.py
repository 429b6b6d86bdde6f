"""Parts of a product, and the ends of what its floating-point types can hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsvd_registry.codec import exact_product, exact_product_torch

from .integers import (
    DEVICES,
    DTYPES,
    NUMPY,
    bits,
    components_of,
    expected,
    reconstruct,
    reconstruct_dense,
)

F32, F64 = torch.float32, torch.float64


def some_components():
    numbers = np.random.default_rng(0)
    a, b = (numbers.integers(-900, 901, (8, size)) for size in (24, 40))
    return components_of(a, b, [0] * 8)


@pytest.mark.parametrize("path", [np.float32, np.float64])
def test_a_run_is_the_rows_of_the_whole(path: type) -> None:
    product = exact_product.DeltaProduct(some_components(), path)
    whole = product.tile(0, product.rows)
    for first, end in ((0, 24), (3, 4), (5, 20), (23, 24)):
        part = product.run(first, end)
        assert (part.rows, part.columns, part.path) == (end - first, product.columns, path)
        assert np.array_equal(part.tile(0, end - first), whole[first:end])
        assert np.array_equal(part.tile(1, end - first), whole[first + 1 : end])


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("path", [F32, F64])
def test_tiles_of_torch_are_those_of_numpy(path: torch.dtype, device: str) -> None:
    wanted = exact_product.DeltaProduct(some_components(), NUMPY[path]).tile(0, 24)
    product = exact_product_torch.DeltaProduct(some_components(), device, path)
    assert (product.rows, product.columns, product.path) == (24, 40, path)
    for first, end in ((0, 24), (3, 4), (5, 20), (23, 24)):
        assert np.array_equal(product.tile(first, end).cpu().numpy(), wanted[first:end])


def test_no_step_of_a_product_is_subnormal() -> None:
    """A library that flushes such numbers gives the same: the powers of two are in the factors."""
    numbers = np.random.default_rng(1)
    a, b = (numbers.integers(-40, 41, (30, size)) for size in (50, 60))
    components = components_of(a, b, -126 + np.arange(30) % 7)
    for path in (np.float32, np.float64):
        wanted = exact_product.DeltaProduct(components, path=path).tile(0, 50)
        assert (np.abs(wanted)[wanted != 0] >= 2.0**-126).all()
        torch.set_flush_denormal(True)
        try:
            product = exact_product.DeltaProduct(components, path=path)
            found = product._a.T @ product._b + path(0)
        finally:
            torch.set_flush_denormal(False)
        assert np.array_equal(found.view(np.uint8), wanted.view(np.uint8))


def test_the_largest_and_the_least_powers_of_two() -> None:
    """Components whose exponents are as far apart as the bound allows."""
    for exponents in ([126, 103], [-126, -103], [-3, -126 + 101], [0, 23]):
        components = components_of([[1, 0], [0, 1]], [[1, 0], [0, -1]], exponents)
        base = torch.tensor([[1.0, -1.0], [0.0, -0.0]])
        for dtype in DTYPES:
            wanted = expected(base, components, dtype)
            for path in (None, F64):
                found = reconstruct(base, components, dtype, path)
                assert torch.equal(bits(found), bits(wanted)), exponents


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("largest", [2**24 - 1, 2**24, 2**24 + 1, 2**31 - 1])
def test_dense_integers_at_the_end_of_float32(largest: int, device: str) -> None:
    values = np.array([largest, -largest, 1, 0], np.int32)
    base = torch.tensor([0.3, 1e-9, -1.0, -0.0])
    for exponent in (-126, -30, 0, 90):
        exact_sums = base.to(F64) + torch.from_numpy(values).to(F64) * 2.0**exponent
        for dtype in DTYPES:
            found = reconstruct_dense(base, values, exponent, dtype, device)
            assert torch.equal(bits(found), bits(exact_sums.to(F32).to(dtype)))
