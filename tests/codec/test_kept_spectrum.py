"""A spectrum that a survey keeps serves the encoding, and the rest of it is found again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dsvd_registry.codec import kept_spectrum
from dsvd_registry.codec.kept_spectrum import kept
from dsvd_registry.codec.spectrum import spectrum

from .deltas import noise, with_spectrum

DELTAS = {
    "wide": with_spectrum(0.9 ** torch.arange(60), 60, 90).float(),
    "tall": with_spectrum(0.9 ** torch.arange(60), 90, 60).float(),
    "large": with_spectrum(1 / torch.arange(1.0, 301), 300, 400).float(),
}


def error_of(matrix: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> float:
    return float((matrix.double() - a.double().T @ b.double()).norm() / matrix.double().norm())


def best_error(matrix: torch.Tensor, rank: int) -> float:
    values = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    return math.sqrt(math.fsum(values[rank:] ** 2) / math.fsum(values**2))


@pytest.mark.parametrize("name", DELTAS)
@pytest.mark.parametrize("error", [0.5, 0.2])
def test_it_serves_every_rank(name: str, error: float) -> None:
    matrix = DELTAS[name]
    of_survey = kept(spectrum(matrix), error)
    count = of_survey.vectors.shape[1]
    assert count < min(matrix.shape)
    for rank in (1, count, count + 1, min(matrix.shape) - 1):
        found = error_of(matrix, *of_survey.over(matrix).factors(matrix, rank))
        assert found == pytest.approx(best_error(matrix, rank), rel=1e-4, abs=1e-6)


def test_only_further_vectors_are_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = DELTAS["wide"]
    of_survey = kept(spectrum(matrix), 0.5)
    count = of_survey.vectors.shape[1]
    again = []
    monkeypatch.setattr(
        kept_spectrum, "spectrum", lambda delta: again.append(delta) or spectrum(delta)
    )
    svd = of_survey.over(matrix)
    svd.factors(matrix, count)
    assert not again
    svd.factors(matrix, count + 1)
    svd.factors(matrix, count + 2)
    assert len(again) == 1


@pytest.mark.parametrize("error", [0.6, 0.3, 0.1])
def test_the_vectors_are_enough_for_the_error_and_few(error: float) -> None:
    """Water-filling leaves out components below the level, and adds as much noise to the others."""
    matrix = DELTAS["large"]
    count = kept(spectrum(matrix), error).vectors.shape[1]
    least = min(rank for rank in range(301) if best_error(matrix, rank) <= error)
    assert least <= count <= 3 * least + 12


def test_a_delta_that_needs_all_vectors_keeps_all() -> None:
    assert kept(spectrum(noise(20, 30)), 1e-3).vectors.shape == (20, 20)
