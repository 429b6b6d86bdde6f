"""Algorithm 1 of Delta-SVD (arXiv 2508.16863), as written.

Per layer: the delta as a matrix (out, rest), its thin SVD in fp32, the smallest t with
E(t) >= tau, and A = U_t S_t, B = V_t^T in fp16. Tensors of one dimension, which the paper
does not mention, keep their deltas in fp16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ..subjects.pair import OpenPair

Values = dict[str, torch.Tensor]  # a layer's singular values, float64, falling


@dataclass(frozen=True)
class Compressed:
    """The result of a run at `tau`: a file of factors `NAME.A` (m, t) and `NAME.B` (t, n), and deltas
    `NAME`; and the singular values of all layers."""

    file: Path
    tau: float
    values: Values

    def ranks(self, tau: float) -> dict[str, int]:
        """The rank of each changed layer."""
        return {name: rank_at(s, tau) for name, s in self.values.items() if s[0] > 0}

    def cut(self, tau: float, output: Path) -> Path:
        """Write the file of the same run at a lower `tau`: the first components of the same SVD."""
        assert tau <= self.tau
        ranks = self.ranks(tau)
        kept = load_file(self.file)
        for name, rank in ranks.items():
            kept[f"{name}.A"] = kept[f"{name}.A"][:, :rank].contiguous()
            kept[f"{name}.B"] = kept[f"{name}.B"][:rank].contiguous()
        save_file(kept, output)
        return output


def compress(pair: OpenPair, tau: float, output: Path) -> Values:
    """Write factors and deltas to `output`, and return all singular values."""
    kept: dict[str, torch.Tensor] = {}
    values: Values = {}
    for name, (_, shape) in pair.kinds.items():
        delta = pair.delta(name)
        if len(shape) < 2:
            kept[name] = delta.half()
            continue
        u, s, vh = torch.linalg.svd(delta.reshape(shape[0], -1), full_matrices=False)
        values[name] = s.double()
        rank = rank_at(values[name], tau) if s[0] > 0 else 0
        kept[f"{name}.A"] = (u[:, :rank] * s[:rank]).half().contiguous()
        kept[f"{name}.B"] = vh[:rank].half().contiguous()
    save_file(kept, output)
    return values


def rank_at(values: torch.Tensor, tau: float) -> int:
    """The smallest t with E(t) >= tau."""
    return min(len(values), int((values.cumsum(0) < tau * values.sum()).sum()) + 1)


def energy_at(values: torch.Tensor, rank: int) -> float:
    """The share of energy E(rank)."""
    return float(values[:rank].sum() / values.sum())


def save_values(values: Values, path: Path) -> None:
    save_file(values, path)


def read_values(path: Path) -> Values:
    return load_file(path)


class Result:
    """The checkpoint that a file of `compress` makes with the pair's base."""

    def __init__(self, pair: OpenPair, file: Path) -> None:
        self._pair = pair
        opened: Any = safe_open(file, framework="pt")
        self._file = opened
        self._names = set(self._file.offset_keys())

    def tensor(self, name: str) -> torch.Tensor:
        """Base plus delta, multiplied and added in fp32, rounded to the fine-tune's dtype."""
        dtype, shape = self._pair.kinds[name]
        if name in self._names:
            delta = self._read(name)
        else:
            delta = (self._read(f"{name}.A") @ self._read(f"{name}.B")).reshape(shape)
        return (self._pair.base(name).to(torch.float32) + delta).to(dtype)

    def _read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor.to(torch.float32)
