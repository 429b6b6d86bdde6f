"""Deltas to measure the codec on: of known spectrum, awkward, and really trained."""

from __future__ import annotations

from functools import cache

import torch
from trained_pair import trained_pair

Pair = tuple[torch.Tensor, torch.Tensor]


def with_spectrum(values: torch.Tensor, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """A float64 (rows, columns) matrix of these singular values and random directions."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(size, len(values), dtype=torch.float64, generator=generator)).Q
        for size in (rows, columns)
    )
    return (left * values.to(torch.float64)) @ right.T


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Float32, normally distributed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rounded(dtype: torch.dtype) -> torch.Tensor:
    """The delta of a low-rank fine-tune that was saved in half precision, to its fp32 base."""
    base = 0.05 * noise(48, 60)
    tuned = base + with_spectrum(0.7 ** torch.arange(8), 48, 60).float() * 0.01
    return tuned.to(dtype).to(torch.float64) - base.to(torch.float64)


@cache
def awkward_deltas() -> dict[str, torch.Tensor]:
    """Float64 matrices, none of them zero."""
    random = noise(40, 56).to(torch.float64)
    sparse = torch.zeros(64, 80, dtype=torch.float64)
    sparse[[3, 17, 40]] = noise(3, 80).to(torch.float64)
    return {
        "random": random,
        "power_law": with_spectrum(1 / torch.arange(1.0, 61), 60, 90),
        "ill_conditioned": with_spectrum(torch.logspace(0, -12, 50), 50, 70),
        "steps": with_spectrum(10.0 ** -(torch.arange(40) // 8), 40, 44),
        "rank_deficient": with_spectrum(torch.ones(5), 60, 80),
        "rank_one": torch.arange(1.0, 31, dtype=torch.float64)[:, None] * random[:1],
        "constant": torch.full((24, 36), 0.125, dtype=torch.float64),
        "identity": torch.eye(32, dtype=torch.float64),
        "one_row": random[:1],
        "one_column": random[:, :1],
        "one_element": random[:1, :1],
        "tall": noise(300, 7).to(torch.float64),
        "wide": noise(7, 300).to(torch.float64),
        "sparse_rows": sparse,
        "of_fp16": rounded(torch.float16),
        "of_bf16": rounded(torch.bfloat16),
    }


@cache
def trained_layers() -> dict[str, Pair]:
    """Base and fine-tune of one trained layer of each matrix shape, by name."""
    base, tuned = trained_pair()
    of_shape = {tuple(base[name].shape): name for name in base if base[name].ndim >= 2}
    return {name: (base[name], tuned[name]) for name in of_shape.values()}


def trained_deltas() -> dict[str, torch.Tensor]:
    """The trained layers' deltas as float64 matrices (out, in * kh * kw)."""
    return {
        name: (tuned.to(torch.float64) - base.to(torch.float64)).flatten(1)
        for name, (base, tuned) in trained_layers().items()
    }
