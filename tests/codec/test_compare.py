"""Inner products, distances and angles of deltas from their factors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dsvd_registry.codec.inner_products import Delta, Factors, as_floats, compare, inner_product

from .deltas import noise, trained_layers, with_spectrum
from .kinds import delta_of, low_rank, norm


def pairs_of_layers() -> list[tuple[Delta, Delta, np.ndarray, np.ndarray]]:
    """Two deltas of each of some layers: as factors, and in full."""
    found = []
    for base, tuned in list(trained_layers().values())[::5]:
        other = tuned + 1e-4 * noise(*tuned.shape)
        one, two = low_rank(base, tuned, 0.8), low_rank(base, other, 0.3)
        shape = tuple(base.flatten(1).shape)
        full = (delta_of(encoded, shape) for encoded in (one, two))
        found.append((as_floats(one.components), as_floats(two.components), *full))
    return found


def test_inner_products_from_factors_are_those_of_the_full_matrices() -> None:
    for one, two, full_one, full_two in pairs_of_layers():
        expected = math.fsum((full_one * full_two).flatten().tolist())
        tolerance = 1e-12 * norm(full_one) * norm(full_two)
        for left in (one, full_one):
            for right in (two, full_two):
                assert inner_product(left, right) == pytest.approx(expected, abs=tolerance)
                assert inner_product(right, left) == pytest.approx(expected, abs=tolerance)


def test_factors_are_the_delta() -> None:
    """Odd exponents too, whose halves are no powers of two."""
    for scale in (1e-25, 1.0, 3e25):
        source = (with_spectrum(0.5 ** torch.arange(9), 30, 40) * scale).to(torch.float32)
        encoded = low_rank(torch.zeros_like(source), source, 0.99)
        assert (encoded.components.exponents % 2 == 1).any()
        both = as_floats(encoded.components)
        assert isinstance(both, Factors)
        np.testing.assert_allclose(
            both.a.T @ both.b, delta_of(encoded, (30, 40)), rtol=1e-12, atol=1e-14 * scale
        )


def test_a_comparison_is_that_of_the_full_matrices() -> None:
    for one, two, full_one, full_two in pairs_of_layers():
        found = compare(inner_product(one, one), inner_product(two, two), inner_product(one, two))
        larger = max(norm(full_one), norm(full_two))
        assert found.left_norm == pytest.approx(norm(full_one), rel=1e-12)
        assert found.right_norm == pytest.approx(norm(full_two), rel=1e-12)
        assert found.distance == pytest.approx(norm(full_one - full_two) / larger, rel=1e-6)
        cosine = float((full_one * full_two).sum()) / norm(full_one) / norm(full_two)
        assert found.cosine == pytest.approx(cosine, rel=1e-9)


@pytest.mark.parametrize(
    ("left", "right", "inner", "distance", "cosine"),
    [
        (4.0, 4.0, 4.0, 0.0, 1.0),
        (4.0, 4.0, -4.0, 2.0, -1.0),
        (4.0, 1.0, 0.0, math.sqrt(5) / 2, 0.0),
        (4.0, 0.0, 0.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, 0.0, 1.0),
        (1e-300, 1e-300, 1e-300, 0.0, 1.0),
        (1e300, 1e-300, 1.0, 1.0, 1.0),
    ],
)
def test_distance_and_cosine(left, right, inner, distance, cosine) -> None:
    found = compare(left, right, inner)
    assert found.distance == pytest.approx(distance, abs=1e-12)
    assert found.cosine == pytest.approx(cosine)


def test_rounding_never_leaves_the_range_of_a_cosine() -> None:
    found = compare(1.0, 1.0, 1.0 + 1e-15)
    assert found.cosine == 1.0 and found.distance == 0.0
