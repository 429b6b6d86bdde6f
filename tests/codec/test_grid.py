"""Factors on the integer grid: within every limit, and as near to the delta as was asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dsvd_registry.codec.encoded import Dense, LowRank, Raw
from dsvd_registry.codec.exact_product_torch import DeltaProduct, apply_delta
from dsvd_registry.codec.integer_grid import OutsideGrid, component_grid, element_grid
from dsvd_registry.codec.spectrum import spectrum, tau_rank
from dsvd_registry.codec.torch_tensors import tensor_to_bytes
from dsvd_registry.encoding.parts import stored_size

from .deltas import awkward_deltas, noise, trained_deltas, trained_layers, with_spectrum
from .kinds import (
    assert_within_limits,
    candidates,
    delta_of,
    encode_as_stored,
    low_rank,
    norm,
    result_of,
)

FLOOR = 5e-4  # of the delta's norm


def factors_at(matrix: torch.Tensor, tau: float) -> tuple[torch.Tensor, torch.Tensor]:
    found = spectrum(matrix, tau)
    return found.factors(matrix, tau_rank(found.singular_values, tau, tuple(matrix.shape)))


def many_equal_and_one_tiny() -> torch.Tensor:
    """Singular values 1 (100 times) and 2^-41, the last of which is spread over 1024 columns."""
    matrix = torch.zeros(101, 1124, dtype=torch.float64)
    matrix[range(100), range(100)] = 1
    matrix[100, 100:] = 2.0**-46
    return matrix


@pytest.mark.parametrize("fineness", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_components_keep_every_limit_or_are_refused(scale: float, fineness: float) -> None:
    kept = 0
    for matrix in awkward_deltas().values():
        for tau in (0.2, 0.8, 1.0):
            a, b = factors_at(matrix * scale, tau)
            distortion = (fineness * float(a.norm(dim=1) @ b.norm(dim=1))) ** 2 / a.numel()
            try:
                components = component_grid(a, b, distortion)
            except OutsideGrid:
                continue
            assert_within_limits(components)
            kept += 1
    assert kept >= 20


def test_components_of_trained_deltas_keep_every_limit() -> None:
    for base, tuned in trained_layers().values():
        for tau in (0.06, 0.8, 1.0):
            assert_within_limits(low_rank(base, tuned, tau).components)


def test_a_component_far_below_the_distortion_is_not_all_zero() -> None:
    a = noise(3, 40).to(torch.float64) * torch.tensor([1.0, 1e-3, 1e-6])[:, None]
    b = noise(3, 50, seed=1).to(torch.float64) * torch.tensor([1.0, 1e-3, 1e-6])[:, None]
    components = component_grid(a, b, distortion=1e-2)
    assert (components.a != 0).any(axis=1).all()
    assert (components.b != 0).any(axis=1).all()
    # Nor is it finer than that takes.
    assert np.abs(components.a[2]).max() <= 2 and np.abs(components.b[2]).max() <= 4


def test_a_sum_that_binary64_cannot_hold_is_outside_the_grid() -> None:
    a, b = factors_at(many_equal_and_one_tiny(), 1.0)
    with pytest.raises(OutsideGrid):
        component_grid(a, b, distortion=1e-9)
    with pytest.raises(OutsideGrid):
        component_grid(a, b, distortion=1e-12)
    assert_within_limits(component_grid(a[:100], b[:100], distortion=1e-9))


def test_no_low_rank_candidate_is_offered_whose_bound_is_over_the_limit() -> None:
    source = many_equal_and_one_tiny().to(torch.float32)
    assert set(candidates(torch.zeros_like(source), source, tau=1.0)) == {Dense, Raw}


@pytest.mark.parametrize("distortion", [1e-60, 1e-80])
def test_integers_over_their_limit_are_outside_the_grid(distortion: float) -> None:
    a, b = factors_at(awkward_deltas()["random"], 0.5)
    with pytest.raises(OutsideGrid):
        component_grid(a, b, distortion)


@pytest.mark.parametrize("scale", [2.0**-130, 2.0**126])
def test_exponents_over_their_limit_are_outside_the_grid(scale: float) -> None:
    a, b = factors_at(awkward_deltas()["random"] * scale, 0.5)
    with pytest.raises(OutsideGrid):
        component_grid(a, b, (1e-3 * scale) ** 2)


def left_by_the_finest_grid(delta: np.ndarray) -> dict[type[LowRank | Dense], float]:
    """The least relative error there is with exponents from -126 up, by numpy's singular values."""
    u, s, v = np.linalg.svd(delta, full_matrices=False)
    sides = u * np.sqrt(s), v * np.sqrt(s)[:, None]
    a, b = (np.rint(side * 2.0**63) for side in sides)
    made = {LowRank: a @ b, Dense: np.rint(delta * 2.0**126)}
    return {kind: norm(m * 2.0**-126 - delta) / norm(delta) for kind, m in made.items()}


@pytest.mark.parametrize(
    ("scale", "kinds"),
    [
        (1e-28, {LowRank, Dense}),
        (1e-31, {LowRank, Dense}),
        (1e-32, {Dense}),
        (1e-33, {Dense}),
        (1e-35, {Dense}),
        (1e-36, set()),
        (1e-37, set()),
        (1e-38, set()),
        (1e-40, set()),
        (1e-44, set()),
    ],
)
def test_the_smallest_deltas_are_encoded_at_their_error_or_raw(
    scale: float, kinds: set[type[LowRank | Dense]]
) -> None:
    """Near 2^-126 the grid has no finer step left to try."""
    source = (noise(16, 24).to(torch.float64) * scale).to(torch.float32)
    base, delta = torch.zeros_like(source), source.to(torch.float64).numpy()
    least = left_by_the_finest_grid(delta)
    assert kinds == {kind for kind, error in least.items() if error <= FLOOR}
    assert all(abs(error - FLOOR) > 0.2 * FLOOR for error in least.values())  # on every processor
    found = candidates(base, source, tau=1.0)
    assert set(found) == {*kinds, Raw}
    for candidate in found.values():
        if isinstance(candidate, LowRank):
            assert_within_limits(candidate.components)
        if not isinstance(candidate, Raw):
            off = norm(result_of(base, candidate, torch.float32) - delta)
            assert off <= FLOOR * norm(delta) * (1 + 1e-6)
    assert type(encode_as_stored(base, source, tau=1.0)) in (kinds or {Raw})


@pytest.mark.parametrize("shape", [(), (1,), (7,), (40, 30), (4, 3, 3, 3)])
@pytest.mark.parametrize("wanted", [0.5, 1e-2, 1e-5])
def test_elements_are_within_the_error_asked_for(shape: tuple[int, ...], wanted: float) -> None:
    for scale in (1e-30, 1.0, 1e30):
        delta = noise(*shape).to(torch.float64) * scale
        values, exponent = element_grid(delta, wanted * float(delta.norm()))
        largest = int(np.abs(values.astype(np.int64)).max())
        assert values.dtype == np.int32 and values.shape == (delta.numel(),)
        assert exponent >= -126 and exponent + largest.bit_length() <= 126 and largest >= 1
        off = np.ldexp(values.astype(np.float64), exponent) - delta.numpy().ravel()
        assert norm(off) <= wanted * norm(delta.numpy()) * (1 + 1e-12)


def test_elements_are_no_finer_than_asked_for() -> None:
    """Twice the step would be off by more than asked."""
    delta = noise(60, 70).to(torch.float64)
    wanted = 0.01 * float(delta.norm())
    _, exponent = element_grid(delta, wanted)
    doubled = torch.round(delta * 2.0 ** -(exponent + 1)) * 2.0 ** (exponent + 1)
    assert float((doubled - delta).norm()) > wanted


@pytest.mark.parametrize(
    ("scale", "error"), [(1e-38, 1e-45), (1e-44, 1e-46), (1e37, 1e20), (3e38, 1e36), (1.0, 1e-12)]
)
def test_elements_outside_the_grid(scale: float, error: float) -> None:
    with pytest.raises(OutsideGrid):
        element_grid(noise(10, 10).to(torch.float64) * scale, error)


def truncation(matrix: torch.Tensor, rank: int) -> float:
    """The error of the best approximation of `rank`, from numpy's singular values."""
    return norm(np.linalg.svd(matrix.numpy(), compute_uv=False)[rank:])


@pytest.mark.parametrize("grid_noise", [0.0, 0.001, 0.015, 0.3])
@pytest.mark.parametrize("tau", [0.06, 0.5, 0.8, 1.0])
def test_the_grid_adds_no_more_than_asked(tau: float, grid_noise: float) -> None:
    deltas = {**awkward_deltas(), **dict(list(trained_deltas().items())[::4])}
    for name, delta in deltas.items():
        source = delta.to(torch.float32)
        matrix = source.to(torch.float64)
        encoded = candidates(torch.zeros_like(source), source, tau, grid_noise).get(LowRank)
        if encoded is None:  # a bound over 2^53
            assert (name, tau) == ("ill_conditioned", 1.0)
            continue
        assert isinstance(encoded, LowRank)
        left = truncation(matrix, len(encoded.singular_values))
        off = norm(matrix.numpy() - delta_of(encoded, tuple(matrix.shape)))
        size = norm(matrix.numpy())
        allowed = max((1 + grid_noise) * left, math.hypot(left, FLOOR * size))
        assert off <= allowed * (1 + 1e-6), name
        assert off >= left * (1 - 1e-6), name


@pytest.mark.parametrize("name", ["random", "power_law", "of_bf16"])
def test_the_error_falls_with_the_grid_noise(name: str) -> None:
    source = awkward_deltas()[name].to(torch.float32)
    matrix = source.to(torch.float64)
    offs = []
    for grid_noise in (0.5, 0.1, 0.015, 0.001):
        encoded = low_rank(torch.zeros_like(source), source, 0.5, grid_noise)
        offs.append(norm(matrix.numpy() - delta_of(encoded, tuple(matrix.shape))))
    assert offs == sorted(offs, reverse=True)
    left = truncation(matrix, len(encoded.singular_values))
    assert offs[0] > 1.1 * left and offs[-1] < 1.0011 * left


def test_at_tau_of_one_trained_weights_are_within_a_thousandth_of_their_delta() -> None:
    for name, (base, tuned) in trained_layers().items():
        encoded = low_rank(base, tuned, tau=1.0)
        shape = encoded.components.a.shape[1], encoded.components.b.shape[1]
        weights = torch.empty(shape)
        apply_delta(base.flatten(1), DeltaProduct(encoded.components), torch.float32, weights)
        off = weights.to(torch.float64) - tuned.flatten(1).to(torch.float64)
        delta = (tuned.to(torch.float64) - base.to(torch.float64)).norm()
        assert float(off.norm()) <= 1e-3 * float(delta), name
        chosen = encode_as_stored(base, tuned, tau=1.0)
        if isinstance(chosen, Raw):  # rightly so where the delta takes more bytes than the weights
            assert stored_size(encoded, tensor_to_bytes(tuned)) >= 0.9 * tuned.nbytes, name
        else:
            far = norm(result_of(base, chosen, torch.float32) - tuned.to(torch.float64).numpy())
            assert far <= 1e-3 * float(delta), name


def test_at_tau_of_one_an_ill_conditioned_delta_is_within_a_thousandth() -> None:
    for spread in (-3, -8, -12):
        source = with_spectrum(torch.logspace(0, spread, 40), 40, 64).to(torch.float32)
        base, delta = torch.zeros_like(source), source.to(torch.float64).numpy()
        found = candidates(base, source, tau=1.0)
        assert set(found) == {LowRank, Dense, Raw}
        for kind in (LowRank, Dense):
            off = norm(result_of(base, found[kind], torch.float32) - delta)
            assert off <= FLOOR * norm(delta) * (1 + 1e-3)  # and the rounding of the result
