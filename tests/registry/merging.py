"""The truth of a merge, from files alone: numpy, float64, and nothing of the package.

A file of a version is base + delta, rounded once to its dtype, so that `sum w (file - base)` knows
each delta up to half a step of the file's dtype. A merge is rounded once, too. What is left between
the two must be the grid's noise, which at tau 1 is `GRID` of the norm of the tensor's change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from dsvd_registry import Registry

Weights = dict[str, torch.Tensor]
Reals = npt.NDArray[np.float64]

GRID = 1e-5
HALF = 0.5 + 2.0**-10  # of a step; a rounding through fp32 may be off by a little more than a half
MANTISSA = {torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
LEAST = {torch.float32: -149, torch.float16: -24, torch.bfloat16: -133}


def reals(tensor: torch.Tensor) -> Reals:
    return tensor.to(torch.float64).numpy()


def step(tensor: torch.Tensor) -> Reals:
    """The spacing of the dtype at each element."""
    _, exponents = np.frexp(reals(tensor))
    steps = np.ldexp(1.0, np.maximum(exponents - 1 - MANTISSA[tensor.dtype], LEAST[tensor.dtype]))
    return np.asarray(steps, np.float64)


def exact(base: torch.Tensor, parts: Sequence[tuple[float, torch.Tensor]]) -> Reals:
    """base + the sum of w (file - base)."""
    total = reals(base).copy()
    for weight, file in parts:
        total += weight * (reals(file) - reals(base))
    return total


def check_sum(
    merged: torch.Tensor,
    base: torch.Tensor,
    parts: Sequence[tuple[float, torch.Tensor]],
    what: str,
    *,
    grid: float = GRID,
) -> None:
    """Check a tensor of a merge against the files: equal but for the roundings and the grid."""
    total = exact(base, parts)
    allowed = HALF * step(merged)
    for weight, file in parts:
        allowed += HALF * abs(weight) * step(file)
    beyond = np.maximum(0.0, np.abs(reals(merged) - total) - allowed)
    change = float(np.linalg.norm(total - reals(base)))
    assert float(np.linalg.norm(beyond)) <= grid * change, what


def result(registry: Registry, ref: str, folder: Path) -> Weights:
    """The tensors of the file that a version gives."""
    path = folder / f"{ref.replace('@', '-')}.safetensors"
    registry.materialize(ref, path, replace=True)
    return load_file(path)


def check_merge(
    registry: Registry,
    merged: str,
    parts: Sequence[tuple[str, float]],
    base: Weights,
    folder: Path,
    *,
    grid: float = GRID,
) -> None:
    """Check every tensor of a merge, all of which are floats of the base, against the files."""
    made = result(registry, merged, folder)
    files = [(weight, result(registry, ref, folder)) for ref, weight in parts]
    assert made.keys() == files[0][1].keys()
    for name, tensor in made.items():
        assert (tensor.dtype, tensor.shape) == (files[0][1][name].dtype, files[0][1][name].shape)
        of_files = [(weight, file.get(name, base[name])) for weight, file in files]
        check_sum(tensor, base[name], of_files, name, grid=grid)


def same_bits(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].contiguous().view(-1).view(torch.uint8).tolist()
        == right[name].contiguous().view(-1).view(torch.uint8).tolist()
        for name in left
    )
