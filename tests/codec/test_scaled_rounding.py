"""Coefficients are scaled before they are rounded: against numpy's rounding of random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dsvd_registry.codec.integer_grid import component_grid, grid_error
from dsvd_registry.codec.rate_distortion import best_scale, scaled_bits_and_error

from .deltas import with_spectrum


def entropy(integers: np.ndarray) -> float:
    """Bits of each integer, of order 0."""
    _, counts = np.unique(integers, return_counts=True)
    return float((counts * np.log2(integers.size / counts)).sum() / integers.size)


@pytest.mark.parametrize("ratio", [0.4, 0.7, 1.0, 2.0, 8.0, 31.0, 40.0, 300.0])
def test_the_model_is_that_of_rounded_normal_numbers(ratio: float) -> None:
    numbers = ratio * np.random.default_rng(0).standard_normal(1_000_000)
    log_ratio = torch.tensor([math.log2(ratio)], dtype=torch.float64)
    scale = float(best_scale(log_ratio))
    (bits,), (error,) = (side.tolist() for side in scaled_bits_and_error(log_ratio))
    integers = np.rint(scale * numbers)
    assert bits == pytest.approx(entropy(integers), rel=0.02)
    assert error == pytest.approx(np.mean((numbers - integers) ** 2) / ratio**2, rel=0.01)
    best = (numbers @ integers) / (integers @ integers)
    assert best == pytest.approx(1.0, abs=3e-3)


def test_far_below_the_step_nothing_is_left() -> None:
    bits, error = scaled_bits_and_error(torch.tensor([-2.5, -30.0], dtype=torch.float64))
    assert bits.tolist() == [0, 0] and error.tolist() == [1, 1]


def spread_factors() -> tuple[torch.Tensor, torch.Tensor]:
    """Balanced factors of components of several strengths, spread over all rows and columns."""
    values = torch.linspace(1.0, 0.2, 16)
    u, s, v = torch.linalg.svd(with_spectrum(values, 900, 1100), full_matrices=False)
    roots = s[:16].sqrt()
    return (u[:, :16] * roots).T.contiguous(), v[:16] * roots[:, None]


def off_and_bits(
    a: np.ndarray, b: np.ndarray, integers: tuple[np.ndarray, np.ndarray], steps: np.ndarray
) -> tuple[float, float]:
    """The squared error of the product, and the bits of all integers."""
    made = (integers[0].T * steps**2) @ integers[1]
    bits = sum(row.size * entropy(row) for side in integers for row in side)
    return float(np.square(made - a.T @ b).sum()), bits


@pytest.mark.parametrize("distortion", [1e-5, 3e-5])
def test_scaled_factors_take_fewer_bits_than_others_of_the_same_error(distortion: float) -> None:
    a, b = spread_factors()
    components = component_grid(a, b, distortion)
    sides = a.numpy(), b.numpy()
    steps = np.exp2(components.exponents / 2)
    off, bits = off_and_bits(*sides, (components.a, components.b), steps)
    # The same steps without a scale, made finer until the error is no larger.
    for finer in np.arange(1.0, 0.3, -0.01):
        plain = steps * finer
        integers = np.rint(sides[0] / plain[:, None]), np.rint(sides[1] / plain[:, None])
        plain_off, plain_bits = off_and_bits(*sides, integers, plain)
        if plain_off <= off:
            break
    assert plain_off <= off
    assert bits < 0.98 * plain_bits


@pytest.mark.parametrize("distortion", [1e-9, 1e-6, 1e-5, 3e-5])
def test_the_estimated_error_is_that_of_the_product(distortion: float) -> None:
    a, b = spread_factors()
    components = component_grid(a, b, distortion)
    steps = np.exp2(components.exponents / 2)
    off, _ = off_and_bits(a.numpy(), b.numpy(), (components.a, components.b), steps)
    assert grid_error(a, b, components) == pytest.approx(off, rel=0.02)
