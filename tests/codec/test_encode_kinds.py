"""Record kinds that tensors get, and the truth of their figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dsvd_registry.codec.encoded import Dense, Encoded, LowRank, Raw, Same
from dsvd_registry.codec.torch_tensors import tensor_to_bytes
from dsvd_registry.encoding.parts import stored_size

from .deltas import Pair, noise, trained_layers, with_spectrum
from .kinds import candidates, encode_as_stored, norm, result_of

F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32
NAN, INF = math.nan, math.inf


def test_equal_bits_are_the_same() -> None:
    for dtype in (F32, F16, BF16):
        base = noise(8, 9).to(dtype)
        base[0, :3] = torch.tensor([-0.0, NAN, -INF])
        assert encode_as_stored(base, base.clone()) == Same()


@pytest.mark.parametrize("base_dtype", [F32, F16, BF16])
@pytest.mark.parametrize("source_dtype", [F32, F16, BF16])
def test_a_cast_base_is_the_same(base_dtype: torch.dtype, source_dtype: torch.dtype) -> None:
    base = noise(8, 9).to(base_dtype)
    base[0, :2] = torch.tensor([-0.0, INF])
    source = base.to(source_dtype, copy=True)
    assert encode_as_stored(base, source) == Same()
    source[3, 3] = -source[3, 3]
    assert encode_as_stored(base, source) != Same()


def test_a_cast_nan_is_raw_for_its_bits_differ_between_machines() -> None:
    base = torch.tensor([1.0, NAN])
    assert encode_as_stored(base, base.to(F16)) == Raw("non_finite")


def test_an_overflow_of_the_cast_is_the_same_if_the_source_has_it() -> None:
    base = torch.tensor([1.0, 1e6])
    assert encode_as_stored(base, base.to(F16)) == Same()


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("side", ["base", "source"])
@pytest.mark.parametrize("shape", [(6,), (5, 6)])
def test_a_value_that_is_not_finite_is_raw(value: float, side: str, shape: tuple[int, ...]) -> None:
    base, source = noise(*shape), noise(*shape, seed=1)
    (base if side == "base" else source)[..., 2] = value
    assert encode_as_stored(base, source) == Raw("non_finite")


@pytest.mark.parametrize("shape", [(), (6,), (5, 6)])
def test_zeros_that_differ_in_sign_alone_are_raw(shape: tuple[int, ...]) -> None:
    zeros = torch.zeros(shape)
    assert encode_as_stored(zeros, -zeros) == Raw("signed_zero")
    assert encode_as_stored(-zeros, zeros) == Raw("signed_zero")
    assert encode_as_stored(zeros.to(BF16), -zeros) == Raw("signed_zero")


@pytest.mark.parametrize("shape", [(), (1,), (320,)])
def test_a_vector_is_dense_within_a_hundredth(shape: tuple[int, ...]) -> None:
    base = noise(*shape)
    source = base + 1e-3 * noise(*shape, seed=1)
    found = candidates(base, source)
    assert set(found) == {Dense, Raw}
    encoded = found[Dense]
    assert isinstance(encoded, Dense) and encoded.error <= 0.01
    if shape == (320,):
        assert isinstance(encode_as_stored(base, source), Dense)


def test_a_tiny_convolution_keeps_the_error_of_its_kind() -> None:
    base = noise(3, 2, 3, 3)
    source = base + 1e-3 * noise(3, 2, 3, 3, seed=1)
    found = candidates(base, source, tau=0.8)
    assert set(found) == {LowRank, Dense, Raw}
    low_rank, dense = found[LowRank], found[Dense]
    assert isinstance(low_rank, LowRank) and isinstance(dense, Dense)
    assert low_rank.components.a.shape[1:] == (3,) and low_rank.components.b.shape[1:] == (18,)
    assert dense.error < 1.02 * low_rank.error < 0.5


def test_rows_of_few_added_tokens_are_found_to_be_of_low_rank() -> None:
    base = noise(400, 64)
    source = base.clone()
    source[[5, 70, 333]] += 1e-2 * noise(3, 64, seed=1)
    encoded = encode_as_stored(base, source, tau=1.0)
    assert isinstance(encoded, LowRank | Dense) and encoded.error < 1e-3
    low_rank = candidates(base, source, tau=1.0)[LowRank]
    assert isinstance(low_rank, LowRank)
    assert len(low_rank.singular_values) == 3
    untouched = np.setdiff1d(np.arange(400), [5, 70, 333])
    assert not low_rank.components.a[:, untouched].any()


def layer(delta: torch.Tensor) -> Pair:
    base = noise(*delta.shape, seed=9)
    return base, base + delta.to(F32)


LOW = layer(1e-3 * with_spectrum(0.6 ** torch.arange(6), 128, 160))
FULL = layer(1e-3 * noise(128, 160).to(torch.float64))


def test_a_low_rank_delta_is_low_rank_and_a_full_one_dense() -> None:
    assert isinstance(encode_as_stored(*LOW, tau=0.99), LowRank)
    assert isinstance(encode_as_stored(*FULL, tau=0.99), Dense)


@pytest.mark.parametrize("pair", [LOW, FULL], ids=["low", "full"])
@pytest.mark.parametrize("tau", [0.2, 0.8, 1.0])
def test_the_smallest_at_equal_error_is_taken(pair: Pair, tau: float) -> None:
    found = candidates(*pair, tau)
    low_rank, dense = found[LowRank], found[Dense]
    assert isinstance(low_rank, LowRank) and isinstance(dense, Dense)
    assert dense.error <= max(low_rank.error, 5e-4) * 1.01
    data = tensor_to_bytes(pair[1])
    sizes = {kind: stored_size(candidate, data) for kind, candidate in found.items()}
    chosen = encode_as_stored(*pair, tau)
    assert sizes[type(chosen)] == min(sizes.values())


def test_a_source_that_compresses_better_than_its_delta_is_raw() -> None:
    assert encode_as_stored(noise(64, 64), torch.ones(64, 64)) == Raw("smaller")


@pytest.mark.parametrize(("dtype", "largest"), [(F16, 65504.0), (BF16, 3.3895314e38)])
def test_a_reconstruction_that_would_overflow_is_raw(dtype: torch.dtype, largest: float) -> None:
    """Each weight is the largest there is: a delta that errs upward, anywhere, gives infinity."""
    source = torch.full((40, 50), largest).to(dtype)
    base = source.to(torch.float64) * (1 - 0.4 * torch.rand(40, 50, dtype=torch.float64))
    base = base.to(dtype)
    assert torch.isfinite(base).all() and torch.isfinite(source).all()
    assert encode_as_stored(base, source, tau=0.3) == Raw("range")
    assert encode_as_stored(base[0], source[0]) == Raw("range")


def test_weights_near_overflow_are_deltas_where_they_stay_finite() -> None:
    base = torch.full((40, 50), 65504.0, dtype=F16)
    source = base - 32 * torch.outer(torch.arange(40) % 2, torch.arange(50) % 2).to(F16)
    found = candidates(base, source)
    assert set(found) == {LowRank, Dense, Raw}
    for encoded in (found[LowRank], found[Dense]):
        assert isinstance(encoded, LowRank | Dense)
        assert np.isfinite(result_of(base, encoded, F16)).all()


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-6)


def assert_truthful(base: torch.Tensor, source: torch.Tensor, encoded: Encoded) -> None:
    """Check every real number of the record against an independent computation."""
    assert isinstance(encoded, LowRank | Dense)
    wanted, had = source.to(torch.float64).numpy(), base.to(torch.float64).numpy()
    delta = wanted - had
    off = result_of(base, encoded, source.dtype) - wanted
    assert encoded.norm == close(norm(delta))
    assert encoded.base_norm == close(norm(had))
    # Where the reconstruction has the source's bits, there is nothing to be relative to.
    assert encoded.error == pytest.approx(norm(off) / norm(delta), rel=1e-6, abs=1e-15)
    if isinstance(encoded, LowRank):
        values = np.linalg.svd(delta.reshape(len(delta), -1), compute_uv=False)
        rank = len(encoded.singular_values)
        assert encoded.nuclear_norm == close(values.sum())
        assert encoded.singular_values == close(values[:rank])
        assert encoded.singular_values.dtype == np.float32
        assert 0 <= encoded.noise_rank <= len(values)
        assert rank in (encoded.tau_rank, max(1, encoded.noise_rank))
        assert rank <= encoded.tau_rank


@pytest.mark.parametrize("keep_noise", [False, True])
@pytest.mark.parametrize("tau", [0.06, 0.5, 1.0])
@pytest.mark.parametrize("base_dtype", [F32, F16, BF16])
@pytest.mark.parametrize("source_dtype", [F32, F16, BF16])
def test_records_of_trained_layers_are_truthful(
    source_dtype: torch.dtype, base_dtype: torch.dtype, tau: float, keep_noise: bool
) -> None:
    kinds = set()
    for base, tuned in list(trained_layers().values())[::6]:
        pair = base.to(base_dtype), tuned.to(source_dtype)
        for encoded in candidates(*pair, tau, keep_noise=keep_noise).values():
            kinds.add(type(encoded))
            if not isinstance(encoded, Raw | Same):
                assert_truthful(*pair, encoded)
    assert kinds >= {LowRank, Dense}


@pytest.mark.parametrize("scale", [1e-28, 1e-3, 1e30])
def test_records_of_extreme_deltas_are_truthful(scale: float) -> None:
    """Squares of these leave the range of fp32, and the deltas of 1e-28 that of the weights."""
    base = torch.zeros(30, 40)
    source = scale * (noise(30, 4) @ noise(4, 40, seed=1))
    for encoded in (candidates(base, source, 0.8)[kind] for kind in (LowRank, Dense)):
        assert_truthful(base, source, encoded)


def test_a_vector_record_is_truthful() -> None:
    base = noise(500)
    source = base + 1e-3 * noise(500, seed=1)
    assert_truthful(base, source, candidates(base, source)[Dense])
