"""Encoding at several taus from one decomposition gives the same as each tau alone."""

from __future__ import annotations

from dataclasses import astuple

import pytest
import torch

from dsvd_registry.codec.encode_each_tau import EncodedCurve, encode_each
from dsvd_registry.codec.encode_tau import EncodeRequest, encode
from dsvd_registry.codec.encoded import Dense, LowRank, Raw, Same
from dsvd_registry.codec.spectrum import spectrum, tau_rank
from dsvd_registry.codec.torch_tensors import tensor_to_bytes
from dsvd_registry.encoding.parts import stored_size

from .deltas import awkward_deltas, noise, with_spectrum

TAUS = (0.06, 0.2, 0.5, 0.8, 0.95, 1.0)


def curve(base: torch.Tensor, source: torch.Tensor, *, keep_noise: bool = False) -> EncodedCurve:
    """The results for several taus, each compared with the result for it alone."""
    settings = [EncodeRequest(tau, 0.015, keep_noise) for tau in TAUS]
    data = tensor_to_bytes(source)

    def size_of(candidate: object) -> int:
        return stored_size(candidate, data)  # type: ignore[arg-type]

    found = encode_each(base, source, settings, size_of)
    assert len(found.records) == len(TAUS)
    for one, record in zip(settings, found.records, strict=True):
        alone = encode(base, source, one, size_of)
        assert type(record) is type(alone), one
        if isinstance(record, LowRank):
            assert isinstance(alone, LowRank)
            assert len(record.singular_values) == len(alone.singular_values), one
            assert record.tau_rank == alone.tau_rank, one
        if isinstance(record, LowRank | Dense):
            assert isinstance(alone, LowRank | Dense)
            assert record.error == pytest.approx(alone.error, rel=1e-3, abs=1e-12)
            assert size_of(record) == pytest.approx(size_of(alone), rel=0.01)
        else:
            assert astuple(record) == astuple(alone)
    return found


def falling(rows: int, columns: int) -> torch.Tensor:
    return 0.01 * with_spectrum(0.9 ** torch.arange(40), rows, columns).float()


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (40, 600)])
def test_a_layer(shape: tuple[int, int]) -> None:
    base = 0.05 * noise(*shape)
    source = base + falling(*shape)
    found = curve(base, source)
    assert any(isinstance(record, LowRank) for record in found.records)
    expected = torch.linalg.svdvals((source - base).double()).numpy()
    assert found.singular_values[:40] == pytest.approx(expected[:40], rel=1e-6)
    ranks = [r.tau_rank for r in found.records if isinstance(r, LowRank)]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 3


@pytest.mark.parametrize("keep_noise", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, keep_noise: bool) -> None:
    base = 0.05 * noise(64, 96)
    source = (base + 0.05 * falling(64, 96)).to(dtype)
    found = curve(base, source, keep_noise=keep_noise)
    capped = [
        record
        for record in found.records
        if isinstance(record, LowRank) and len(record.singular_values) < record.tau_rank
    ]
    assert bool(capped) is not keep_noise


def test_what_has_no_spectrum() -> None:
    base = noise(64)
    found = curve(base, base + 0.01 * noise(64, seed=1))
    assert all(isinstance(record, Dense) for record in found.records)
    assert found.singular_values.size == 0


def test_what_takes_no_delta() -> None:
    base = noise(8, 8)
    bad = base.clone()
    bad[0, 0] = torch.inf
    assert curve(base, base.clone()).records == (Same(),) * len(TAUS)
    assert curve(base, bad).records == (Raw("non_finite"),) * len(TAUS)
    assert curve(torch.zeros(4, 4), -torch.zeros(4, 4)).records == (Raw("signed_zero"),) * len(TAUS)


@pytest.mark.parametrize("name", awkward_deltas())
def test_one_spectrum_decides_every_rank(name: str) -> None:
    """Even if the fastest products suffice for some of the taus only."""
    delta = awkward_deltas()[name]
    shape = tuple(delta.shape)
    found = spectrum(delta, *TAUS).singular_values
    exact = torch.linalg.svdvals(delta)
    energies = exact.cumsum(0) / exact.sum()
    for tau in TAUS[:-1]:
        if float((energies - tau).abs().min()) > 1e-4:
            assert tau_rank(found, tau, shape) == tau_rank(exact, tau, shape), tau


def test_vectors_are_worked_out_once() -> None:
    matrix = falling(64, 96).double()
    found = spectrum(matrix, 0.5)
    held = found.reaching(20)
    for rank in (1, 7, 20):
        for one, other in zip(found.factors(matrix, rank), held.factors(matrix, rank), strict=True):
            assert one.shape == other.shape
            signs = torch.sign((one * other).sum(1))
            assert one.numpy() == pytest.approx((signs[:, None] * other).numpy(), abs=1e-9)
