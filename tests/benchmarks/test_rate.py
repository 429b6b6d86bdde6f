"""The bound of rate-distortion theory, against a search of its own."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rate import Strengths, least_bits


@pytest.mark.parametrize("allowed", [0.01, 1.0, 5.0, 26.0])
def test_the_bound_is_the_least_number_of_bits_that_a_search_finds(allowed: float) -> None:
    strong, weak, long, short = 10.0, 5.0, 2000, 300
    # Every share of the first component's variance, and what is then left for the second one.
    first = np.concatenate([np.logspace(-9, -2, 400_000), np.linspace(1e-2, 1, 400_000)])
    left = (allowed - strong**2 * (2 * first - first**2)) / weak**2
    first, left = first[left > 0], left[left > 0]
    second = 1 - np.sqrt(1 - np.minimum(left, 1))
    bits = -(long * np.log2(first) + short * np.log2(second)) / 2
    tensors = [
        Strengths(np.array([strong]), long, 0.25 * allowed),
        Strengths(np.array([weak]), short, 0.75 * allowed),
    ]
    assert least_bits(tensors) == pytest.approx(float(bits.min()), rel=2e-3)
