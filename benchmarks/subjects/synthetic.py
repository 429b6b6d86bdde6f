"""A base and a fine-tune with given shapes, whose deltas have a spectrum of choice.

`exact_delta` and `noisy_delta` have that of the paper's table 2, the easy case. The hard ones are
`full_rank_delta`, in which nothing is of low rank, and `merged_delta`, of two fine-tunes at once.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from .spectra import group_of, rank_at, singular_values
from .streamed import StreamedSafetensors
from .unets import Shapes

VERSION = 1  # of the recipe below: raise it with every change
WEIGHT_RMS = 0.03
DELTA_RMS = 0.01 * WEIGHT_RMS  # 1 % of the weights, equal for all tensors as with AdamW
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}

MakeDelta = Callable[[str, int, int, torch.Generator], torch.Tensor]
"""A function of a layer group, rows, columns and a generator; the delta's size is set afterwards."""


def file_name(side: str, dtype: str) -> str:
    """The name of a file. `side`: "base" or "tuned"."""
    return f"{side}.{dtype}.safetensors"


def make_pair(folder: Path, shapes: Shapes, delta: MakeDelta, *, dtypes: Sequence[str]) -> None:
    """Write base and fine-tune in each of `dtypes` (the same numbers, rounded) into `folder`.

    `delta` makes those of matrices. Memory stays within a few times the largest tensor.
    """
    with contextlib.ExitStack() as stack:
        files = {
            (side, dtype): stack.enter_context(
                StreamedSafetensors(
                    folder / file_name(side, dtype),
                    {name: (DTYPES[dtype], shape) for name, shape in shapes.items()},
                )
            )
            for side in ("base", "tuned")
            for dtype in dtypes
        }
        bar = stack.enter_context(Progress(console=Console(stderr=True)))
        task = bar.add_task("making a pair", total=sum(math.prod(s) for s in shapes.values()))
        for name, shape in shapes.items():
            # Each tensor has its own seed, so that the order does not matter.
            draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            base = _weights(name, shape, draw)
            tuned = base + _delta(name, shape, draw, delta)
            for dtype in dtypes:
                files["base", dtype].write(name, base.to(DTYPES[dtype]))
                files["tuned", dtype].write(name, tuned.to(DTYPES[dtype]))
            bar.advance(task, base.numel())


def _weights(name: str, shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    """Random weights: normal, and around one for the scales of norms."""
    weights = torch.randn(shape, generator=draw).mul_(WEIGHT_RMS)
    return weights + 1 if len(shape) == 1 and name.endswith(".weight") else weights


def _delta(
    name: str, shape: tuple[int, ...], draw: torch.Generator, make: MakeDelta
) -> torch.Tensor:
    """A random delta in float32, of RMS `DELTA_RMS`."""
    if len(shape) < 2:
        delta = torch.randn(shape, generator=draw)
    else:
        delta = make(group_of(name), shape[0], math.prod(shape[1:]), draw).reshape(shape)
    rms = float(torch.linalg.vector_norm(delta)) / math.sqrt(delta.numel())
    scaled: torch.Tensor = delta * (DELTA_RMS / rms)
    return scaled


def exact_delta(group: str, rows: int, columns: int, draw: torch.Generator) -> torch.Tensor:
    """The matrix Q1 diag(s) Q2 (rows, columns), with random orthonormal Q1 and Q2."""
    rank = min(rows, columns)
    values = torch.from_numpy(singular_values(group, rank)).to(torch.float32)
    left: torch.Tensor = torch.linalg.qr(torch.randn(rows, rank, generator=draw)).Q
    right: torch.Tensor = torch.linalg.qr(torch.randn(columns, rank, generator=draw)).Q
    return (left * values) @ right.T


def noisy_delta(group: str, rows: int, columns: int, draw: torch.Generator) -> torch.Tensor:
    """Gaussian components with half of the energy, plus Gaussian noise with about the other half."""
    full_rank = min(rows, columns)
    values = singular_values(group, full_rank)
    rank = rank_at(values, 0.5)
    left = torch.randn(rows, rank, generator=draw).mul_(torch.from_numpy(values[:rank]).float())
    right = torch.randn(rank, columns, generator=draw).div_(math.sqrt(rows * columns))
    # Singular values of a matrix of standard normals are about sqrt(longer side), less by up to
    # 15 % for a square one (the mean of the quarter-circle law).
    mean = math.sqrt(max(rows, columns)) * (1 - 0.15 * full_rank / max(rows, columns))
    sigma = float(values[rank:].sum()) / (full_rank * mean)
    noise = torch.randn(rows, columns, generator=draw).mul_(sigma)
    return noise.addmm_(left, right)


def full_rank_delta(_group: str, rows: int, columns: int, draw: torch.Generator) -> torch.Tensor:
    """Standard normals: all singular values are of one order, and no rank is low."""
    return torch.randn(rows, columns, generator=draw)


def merged_delta(group: str, rows: int, columns: int, draw: torch.Generator) -> torch.Tensor:
    """The delta of two fine-tunes merged half and half: `exact_delta` twice, with other factors."""
    one, other = (exact_delta(group, rows, columns, draw) for _ in range(2))
    return (one + other) / 2
