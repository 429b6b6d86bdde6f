"""Ranks from the Gram matrix are those of a full SVD, and the rules say what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from dsvd_registry.codec import spectrum as spectrum_module
from dsvd_registry.codec.lapack import Tridiagonal, tridiagonalize
from dsvd_registry.codec.products import gram
from dsvd_registry.codec.spectrum import (
    _single_doubts,
    energy,
    noise_rank,
    spectrum,
    tau_rank,
)
from dsvd_registry.codec.tensor_pair import pair

from .deltas import awkward_deltas, noise, trained_deltas, with_spectrum

TAUS = (0.06, 0.2, 0.5, 0.8, 0.95, 0.999)
DECISIVE = 1e-4  # a rank must be right wherever E misses tau by more than this


class FullSvds(TorchDispatchMode):
    """Counts the full SVDs that run inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._linalg_svd.default
        return func(*args, **(kwargs or {}))


def full_svd(matrix: torch.Tensor) -> np.ndarray:
    """Singular values by numpy's LAPACK, which is another one than torch's."""
    return np.linalg.svd(matrix.to(torch.float64).numpy(), compute_uv=False)


def found_rank(matrix: torch.Tensor, tau: float) -> int:
    return tau_rank(spectrum(matrix, tau).singular_values, tau, tuple(matrix.shape))


def assert_ranks_are_those_of_a_full_svd(matrix: torch.Tensor) -> None:
    """E(t) >= tau and E(t - 1) < tau, each to `DECISIVE`: no other t passes where both are clear."""
    energies = np.concatenate([[0], np.cumsum(full_svd(matrix))])
    energies /= energies[-1]
    for tau in TAUS:
        rank = found_rank(matrix, tau)
        assert energies[rank] >= tau - DECISIVE
        assert energies[rank - 1] < tau + DECISIVE


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("name", awkward_deltas())
def test_ranks_of_awkward_deltas_are_those_of_a_full_svd(name: str, scale: float) -> None:
    assert_ranks_are_those_of_a_full_svd(awkward_deltas()[name] * scale)


def test_ranks_of_trained_deltas_are_those_of_a_full_svd() -> None:
    for matrix in trained_deltas().values():
        assert_ranks_are_those_of_a_full_svd(matrix)


@pytest.mark.parametrize("name", awkward_deltas())
def test_products_in_single_precision_decide_only_what_they_can(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single precision is forced here for small matrices, so that each can be wrong."""
    monkeypatch.setattr(spectrum_module, "SINGLE_FROM", 1)
    assert_ranks_are_those_of_a_full_svd(awkward_deltas()[name].to(torch.float32))


LARGE = {
    "random": noise(520, 600),
    "tall": noise(1500, 512),
    "wide": noise(513, 3000),
    "power_law": with_spectrum(1 / torch.arange(1.0, 601), 600, 700).float(),
    "ill_conditioned": with_spectrum(torch.logspace(0, -9, 520), 520, 640).float(),
    "rank_deficient": with_spectrum(torch.ones(40), 530, 2200).float(),
    "constant": torch.full((512, 700), 0.1),
    "one_strong": (with_spectrum(torch.ones(512), 512, 600) + 50.0).float(),
    "of_fp16": (0.05 * noise(512, 512)).half().float() - 0.05 * noise(512, 512),
}


@pytest.mark.parametrize("name", LARGE)
def test_ranks_of_large_deltas_are_those_of_a_full_svd(name: str) -> None:
    assert len(LARGE[name].squeeze()) >= spectrum_module.SINGLE_FROM
    assert_ranks_are_those_of_a_full_svd(LARGE[name])


def test_single_precision_is_enough_for_an_ordinary_large_delta(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the tests above would not have shown what they are for."""
    asked = []
    monkeypatch.setattr(
        spectrum_module,
        "_gram",
        lambda wide, dtype, gram=spectrum_module._gram: asked.append(dtype) or gram(wide, dtype),
    )
    for tau in TAUS:
        spectrum(LARGE["wide"], tau)
    assert asked == [torch.float32] * len(TAUS)
    asked.clear()
    spectrum(LARGE["ill_conditioned"], 0.999)
    assert asked == [torch.float32, torch.float64]


@pytest.mark.parametrize("name", LARGE)
def test_single_precision_errs_by_no_more_than_is_allowed_for(name: str) -> None:
    matrix = LARGE[name]
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    found = tridiagonalize(gram(wide, torch.float32).float().numpy()).eigenvalues()[::-1].copy()
    off = np.abs(found - full_svd(matrix) ** 2)
    assert (off <= _single_doubts(torch.from_numpy(found)).numpy()).all()
    assert off.max() > 2.0**-32 * found[0]  # it was single precision


def test_an_undecided_rank_is_looked_for_again_with_a_more_precise_reduction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reduced = []
    monkeypatch.setattr(
        spectrum_module,
        "tridiagonalize",
        lambda square: reduced.append(square.dtype) or tridiagonalize(square),
    )
    spectrum(LARGE["wide"], 0.5)
    assert reduced == [np.float32]
    reduced.clear()
    energies = np.cumsum(full_svd(LARGE["power_law"]))
    spectrum(LARGE["power_law"], float(energies[99] / energies[-1]))  # a hair's breadth
    assert reduced[:2] == [np.float32, np.float64]
    reduced.clear()
    spectrum(LARGE["rank_deficient"], 0.5)  # its rank is sure, but the roots of 490 zeros add up
    # Whether products in single precision are enough is for the processor's own rounding to say.
    assert reduced in ([np.float32, np.float64], [np.float32, np.float64, np.float64])


def test_most_of_these_ranks_leave_no_choice() -> None:
    """Otherwise the tests above would show little."""
    clear = []
    for matrix in (*awkward_deltas().values(), *trained_deltas().values()):
        values = full_svd(matrix)
        energies = np.cumsum(values) / values.sum()
        clear += [np.abs(energies - tau).min() > DECISIVE for tau in TAUS]
    assert np.mean(clear) > 0.9


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("name", sorted(awkward_deltas().keys() - {"ill_conditioned"}))
def test_tau_of_one_gives_the_numerical_rank(name: str, scale: float) -> None:
    matrix = awkward_deltas()[name] * scale
    values = full_svd(matrix)
    threshold = values[0] * max(matrix.shape) * 2.0**-52
    assert found_rank(matrix, 1.0) == (values > threshold).sum()


def test_tau_of_one_keeps_singular_values_that_squares_would_lose() -> None:
    """s_50 / s_1 = 1e-12: its square is far below the rounding of the Gram matrix."""
    assert found_rank(awkward_deltas()["ill_conditioned"], 1.0) == 50


@pytest.mark.parametrize("columns", [10_000, 100_000])
@pytest.mark.parametrize("transposed", [False, True])
def test_tau_of_one_sees_that_proportional_rows_are_of_rank_one(columns, transposed) -> None:
    """The sums behind a Gram matrix are as long as the long side, and so is their rounding."""
    for seed in range(10):
        row = noise(1, columns, seed=seed).to(torch.float64)
        matrix = torch.tensor([[7.0], [37.0]], dtype=torch.float64) @ row
        assert found_rank(matrix.T if transposed else matrix, 1.0) == 1


def test_the_full_svd_is_taken_where_the_gram_matrix_would_be_wrong() -> None:
    matrix = awkward_deltas()["rank_deficient"]
    of_gram = torch.linalg.eigvalsh(matrix @ matrix.T).flip(0).clamp_min(0).sqrt()
    assert tau_rank(of_gram, 1.0, tuple(matrix.shape)) > 5
    with FullSvds() as svds:
        found = spectrum(matrix, 1.0)
    assert svds.count == 1
    assert tau_rank(found.singular_values, 1.0, tuple(matrix.shape)) == 5


def test_the_full_svd_is_taken_where_many_small_values_might_add_up() -> None:
    """Each of the 399 zero singular values of the matrix is uncertain by 2e-7 of the largest."""
    matrix = noise(400, 1).to(torch.float64) @ noise(1, 400, seed=1).to(torch.float64)
    with FullSvds() as svds:
        found = spectrum(matrix, 0.99995)
    assert svds.count == 1
    assert tau_rank(found.singular_values, 0.99995, (400, 400)) == 1
    with FullSvds() as svds:
        spectrum(matrix, 0.9)
    assert svds.count == 0


def test_ordinary_deltas_need_no_full_svd() -> None:
    ordinary = [noise(64, 96).to(torch.float64), with_spectrum(1 / torch.arange(1.0, 91), 90, 128)]
    with FullSvds() as svds:
        for matrix in (*ordinary, *trained_deltas().values()):
            for tau in (0.06, 0.2, 0.5, 0.8):
                spectrum(matrix, tau)
    assert svds.count == 0


@pytest.mark.parametrize("name", ["tall", "wide", "power_law", "steps", "ill_conditioned"])
@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_factors_are_the_best_approximation_of_their_rank(name: str, tau: float) -> None:
    matrix = awkward_deltas()[name]
    rank = found_rank(matrix, tau)
    a, b = spectrum(matrix, tau).factors(matrix, rank)
    best = math.sqrt(math.fsum(full_svd(matrix)[rank:] ** 2))
    norm = float(matrix.norm())
    assert float((matrix - a.T @ b).norm()) == pytest.approx(best, rel=1e-6, abs=1e-12 * norm)
    torch.testing.assert_close(a.norm(dim=1), b.norm(dim=1))


@pytest.mark.parametrize("name", sorted(LARGE.keys() - {"constant", "rank_deficient"}))
@pytest.mark.parametrize("tau", [0.06, 0.5, 0.9])
def test_factors_in_single_precision_lose_nothing(name: str, tau: float) -> None:
    matrix = LARGE[name]
    rank = found_rank(matrix, tau)
    a, b = spectrum(matrix, tau).factors(matrix, rank)
    assert a.dtype == b.dtype == torch.float32
    off = matrix.to(torch.float64) - a.to(torch.float64).T @ b.to(torch.float64)
    best = math.sqrt(math.fsum(full_svd(matrix)[rank:] ** 2))
    assert float(off.norm()) == pytest.approx(best, rel=1e-6, abs=3e-7 * float(matrix.norm()))
    torch.testing.assert_close(a.norm(dim=1), b.norm(dim=1), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("name", "tau", "asked"),
    [("wide", 0.5, [np.float32]), ("ill_conditioned", 0.999, [np.float32, np.float64])],
)
def test_vectors_that_are_not_orthonormal_are_worked_out_again(
    name: str, tau: float, asked: list[type[np.floating]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision from the same reduction, if that was precise; else from the start."""
    tried = []
    top_eigenvectors = Tridiagonal.top_eigenvectors

    def spoilt(reduced: Tridiagonal, count: int, dtype: type[np.floating]) -> np.ndarray:
        tried.append(dtype)
        vectors = top_eigenvectors(reduced, count, dtype)
        return vectors + np.float32(0.01) if dtype == np.float32 else vectors

    monkeypatch.setattr(Tridiagonal, "top_eigenvectors", spoilt)
    matrix = LARGE[name]
    a, b = spectrum(matrix, tau).factors(matrix, 20)
    assert tried == asked
    off = matrix.to(torch.float64) - a.to(torch.float64).T @ b.to(torch.float64)
    best = math.sqrt(math.fsum(full_svd(matrix)[20:] ** 2))
    assert float(off.norm()) == pytest.approx(best, rel=1e-6)


def test_vectors_that_are_nearly_orthonormal_are_made_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another look at the matrix, and the space that they span stays what it is."""
    matrix, count = LARGE["wide"], 20
    top_eigenvectors = Tridiagonal.top_eigenvectors

    def leaning(reduced: Tridiagonal, count: int, dtype: type[np.floating]) -> np.ndarray:
        vectors = top_eigenvectors(reduced, count, dtype)
        others = np.random.default_rng(0).uniform(-1e-3, 1e-3, (count, count)).astype(dtype)
        return vectors + vectors @ others

    monkeypatch.setattr(Tridiagonal, "top_eigenvectors", leaning)
    monkeypatch.setattr(torch.linalg, "eigh", None)
    found = spectrum(matrix, 0.5)
    vectors = found.vectors(count).numpy().astype(np.float64)
    assert np.abs(vectors.T @ vectors - np.eye(count)).max() < 1e-4
    a, b = found.factors(matrix, count)
    off = matrix.to(torch.float64) - a.to(torch.float64).T @ b.to(torch.float64)
    best = math.sqrt(math.fsum(full_svd(matrix)[count:] ** 2))
    assert float(off.norm()) == pytest.approx(best, rel=1e-6)


falling = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30).map(
    lambda values: sorted(values, reverse=True)
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(values=falling, tau=st.floats(0.001, 0.999))
def test_energy_and_rank_are_what_the_paper_defines(values: list[float], tau: float) -> None:
    energies = [math.fsum(values[:t]) / math.fsum(values) for t in range(len(values) + 1)]
    tensor = torch.tensor(values, dtype=torch.float64)
    for t in range(1, len(values) + 1):
        assert energy(tensor, t) == pytest.approx(energies[t], rel=1e-12)
    rank = tau_rank(tensor, tau, (len(values), len(values)))
    assert 1 <= rank <= len(values)
    assert energies[rank] >= tau - 1e-12
    assert energies[rank - 1] < tau + 1e-12


def mean_square_ulp(tensor: torch.Tensor) -> float:
    """Computed from the distance of each magnitude to the next number of the dtype."""
    size = tensor.abs()
    above = (size.view(torch.int16) + 1).view(tensor.dtype)
    return float((above.to(torch.float64) - size.to(torch.float64)).square().mean())


@pytest.mark.parametrize("source_dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("base_dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_noise_rank_is_its_formula(base_dtype: torch.dtype, source_dtype: torch.dtype) -> None:
    shape = (30, 40)
    base = (noise(*shape) * 10.0 ** noise(*shape, seed=1)).to(base_dtype)
    base[0, :2] = torch.tensor([0.0, 1.0])
    source = (base.to(torch.float32) * 1.01).to(source_dtype)
    halves = [side for side in (base, source) if side.dtype != torch.float32]
    sigma = math.sqrt(sum(mean_square_ulp(side) / 12 for side in halves))
    edge = sigma * (math.sqrt(30) + math.sqrt(40))
    below, above = (edge or 1e-300) * 0.999, (edge or 1e-300) * 1.001
    values = torch.tensor([9.0, 3.0, 1.0], dtype=torch.float64) * above
    sides = pair(base, source)
    assert sides is not None
    values = torch.cat([values, values[-1:] * 0 + below])
    assert noise_rank(values, sides.noise_variance, shape) == (3 if halves else 4)


def test_deltas_between_fp32_tensors_have_no_noise_rank_below_the_full() -> None:
    values = torch.tensor([1.0, 1e-20, 1e-40], dtype=torch.float64)
    sides = pair(noise(3, 3), noise(3, 3, seed=1))
    assert sides is not None
    assert noise_rank(values, sides.noise_variance, (3, 3)) == 3


def test_a_doubtful_rank_is_doubtful_at_every_scale() -> None:
    """A change of all weights by a power of two changes no rank, and no doubt of it."""
    values = torch.tensor([1.0, 0.5, 0.25, 0.25], dtype=torch.float64)
    doubts = torch.full_like(values, 2.0**-9)
    for tau in (0.3, 0.5, 0.625, 0.75, 0.9):
        decided = {
            spectrum_module._gram_decides(
                torch.square(values * scale), torch.Size((4, 4)), tau, doubts * scale**2
            )
            for scale in (2.0**-60, 1.0, 2.0**60)
        }
        assert len(decided) == 1, tau


def test_the_least_float32_components_have_their_length() -> None:
    """Squares of numbers below 1e-23 vanish in float32."""
    matrix = torch.diag(10.0 ** torch.arange(-10.0, -26.0, -1.0)).to(torch.float32)
    a, b = spectrum(matrix, 1.0).factors(matrix, 15)
    assert torch.isfinite(a).all() and torch.isfinite(b).all()
    lengths = np.linalg.norm(a.double().numpy(), axis=1) * np.linalg.norm(
        b.double().numpy(), axis=1
    )
    np.testing.assert_allclose(lengths, np.diag(matrix.double().numpy())[:15], rtol=1e-5)
