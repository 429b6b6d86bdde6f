"""The rounding of half precision is not stored as if it were training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_no_rank_is_stored_above_the_noise(registry: Registry, dtype: torch.dtype) -> None:
    capped = 0
    for row in registry.report(stored(registry, dtype, keep_noise=False)).tensors:
        if row.kind == "low_rank":
            assert row.tau_rank is not None and row.noise_rank is not None
            assert row.rank == max(1, min(row.tau_rank, row.noise_rank))
            capped += row.rank < row.tau_rank
    assert capped > (10 if dtype == torch.bfloat16 else 0)


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


def test_a_capped_version_serves_every_lower_tau(registry: Registry, tmp_path: Path) -> None:
    ref = stored(registry, torch.bfloat16, keep_noise=False)
    for tau in (0.06, 0.3, 0.49):
        registry.materialize(ref, tmp_path / "out.safetensors", tau=tau, replace=True)
