"""The rounding of half precision is not stored as if it were training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from registry.conftest import Pair
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry


@pytest.fixture(scope="module")
def registry(trained: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The trained fine-tune as fp16 and as bf16, against its fp32 base."""
    folder = tmp_path_factory.mktemp("noise")
    with Registry.init(folder / "registry") as registry:
        registry.add_base("base", trained.base_file)
        for dtype in (torch.float16, torch.bfloat16):
            rounded = {name: tensor.to(dtype) for name, tensor in trained.tuned.items()}
            save_file(rounded, folder / f"{name_of(dtype)}.safetensors")
        yield registry


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def stored(registry: Registry, dtype: torch.dtype, keep_noise: bool) -> str:
    file = registry.folder.parent / f"{name_of(dtype)}.safetensors"
    return registry.add(file, base="base", tau=0.5, keep_noise=keep_noise).ref


def true_error(registry: Registry, ref: str, trained: Pair, tmp_path: Path) -> float:
    """Relative to what training did, before anything was rounded."""
    registry.materialize(ref, tmp_path / "out.safetensors", replace=True)
    result = load_file(tmp_path / "out.safetensors")
    names = [n for n in trained.tuned if trained.tuned[n].ndim > 1]
    off = torch.stack([(result[n].double() - trained.tuned[n].double()).norm() for n in names])
    size = torch.stack(
        [(trained.tuned[n].double() - trained.base[n].double()).norm() for n in names]
    )
    return float(off.norm() / size.norm())


@dataclass(frozen=True)
class Spectrum:
    """The singular value decomposition of a delta, and where its noise begins; by numpy."""

    u: np.ndarray
    values: np.ndarray
    v: np.ndarray
    noise: float  # the largest singular value that rounding alone gives

    def noise_rank(self) -> int:
        return int((self.values > self.noise).sum())

    def tau_rank(self, tau: float) -> int:
        return int((self.values.cumsum() < tau * self.values.sum()).sum()) + 1

    def added_to(self, base: torch.Tensor, rank: int) -> torch.Tensor:
        """bf16 weights, of the first singular values alone."""
        delta = (self.u[:, :rank] * self.values[:rank]) @ self.v[:rank]
        return (base.double() + torch.from_numpy(delta)).float().bfloat16().double()

    def is_clear(self, *taus: float) -> bool:
        """Whether a change of the last bits, as of another processor, leaves the ranks."""
        energies = self.values.cumsum() / self.values.sum()
        near_noise = np.abs(self.values / self.noise - 1).min()
        return near_noise > 1e-3 and all(np.abs(energies - tau).min() > 1e-4 for tau in taus)


def spectrum_of(trained: Pair, name: str, dtype: torch.dtype) -> Spectrum:
    source = trained.tuned[name].to(dtype).double().flatten(1).numpy()
    delta = source - trained.base[name].double().flatten(1).numpy()
    mantissa, least = {torch.float16: (10, -14), torch.bfloat16: (7, -126)}[dtype]
    spacing = 2.0 ** (np.maximum(np.frexp(source)[1] - 1, least) - mantissa)
    sigma = np.sqrt((spacing**2).mean() / 12)  # the base is F32
    u, values, v = np.linalg.svd(delta, full_matrices=False)
    return Spectrum(u, values, v, sigma * sum(np.sqrt(delta.shape)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_no_rank_is_stored_above_the_noise(
    registry: Registry, trained: Pair, dtype: torch.dtype
) -> None:
    capped = clear = 0
    for row in registry.report(stored(registry, dtype, keep_noise=False)).tensors:
        if row.kind == "low_rank":
            spectrum = spectrum_of(trained, row.name, dtype)
            if spectrum.is_clear(0.5):
                ranks = spectrum.tau_rank(0.5), spectrum.noise_rank()
                assert (row.tau_rank, row.noise_rank) == ranks, row.name
                clear += 1
            assert row.rank == max(1, min(row.tau_rank, row.noise_rank))
            capped += row.rank < row.tau_rank
    assert capped > (10 if dtype == torch.bfloat16 else 0)
    assert clear > 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_noise_is_kept_where_it_is_asked_for(registry: Registry, dtype: torch.dtype) -> None:
    rows = registry.report(stored(registry, dtype, keep_noise=True)).tensors
    low_rank = [row for row in rows if row.kind == "low_rank"]
    assert low_rank and all(row.rank == row.tau_rank for row in low_rank)


def test_without_the_noise_of_bf16_a_version_is_smaller_and_as_near_to_the_training(
    registry: Registry, trained: Pair, tmp_path: Path
) -> None:
    refs = [stored(registry, torch.bfloat16, keep_noise) for keep_noise in (False, True)]
    sizes = [registry.version(ref).size for ref in refs]
    assert sizes[0] < 0.97 * sizes[1]
    errors = [true_error(registry, ref, trained, tmp_path) for ref in refs]
    assert errors[0] < errors[1] * 1.02


def test_a_capped_version_serves_every_lower_tau(
    registry: Registry, trained: Pair, tmp_path: Path
) -> None:
    """The result is nearer to the tau's rank, or that of the noise, than to one more or less."""
    ref = stored(registry, torch.bfloat16, keep_noise=False)
    names = [row.name for row in registry.report(ref).tensors if row.kind == "low_rank"]
    compared = capped = 0
    for tau in (0.06, 0.3, 0.49):
        registry.materialize(ref, tmp_path / "out.safetensors", tau=tau, replace=True)
        result = load_file(tmp_path / "out.safetensors")
        for name in names:
            spectrum = spectrum_of(trained, name, torch.bfloat16)
            if not spectrum.is_clear(tau, 0.5):
                continue
            if not spectrum.noise_rank():  # all of it is noise, of which a coarse rank 1 is kept
                continue
            wanted = max(1, min(spectrum.tau_rank(tau), spectrum.noise_rank()))
            base, made = trained.base[name].flatten(1), result[name].flatten(1).double()
            off = {
                rank: float((made - spectrum.added_to(base, rank)).norm())
                for rank in (wanted - 1, wanted, wanted + 1)
            }
            assert min(off, key=off.__getitem__) == wanted, (tau, name, off)
            compared += 1
            capped += spectrum.noise_rank() < spectrum.tau_rank(tau)
    assert compared > 60 and capped > 5
