"""Fine-tunes made of integers and powers of two: the same bits on every processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SPECTRA = ("low rank", "falling", "flat", "sparse", "mixed")


class Numbers:
    """Integers from a seed, and what is made of them without any rounding that could differ."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        return self._generator.integers(low, high, shape)

    def bell(self, *shape: int) -> np.ndarray:
        """Integers of about -500 to 500, most of them near 0."""
        return self.integers(-128, 129, 4, *shape).sum(0)

    def weights(self, *shape: int) -> torch.Tensor:
        return scaled(self.bell(*shape), -11)

    def change(self, spectrum: str, rows: int, columns: int) -> torch.Tensor:
        if spectrum == "mixed":
            spectrum = SPECTRA[int(self.integers(0, 4, 1)[0])]
        if spectrum == "flat":
            return scaled(self.bell(rows, columns), -16)
        if spectrum == "sparse":
            found = np.zeros((rows, columns), np.int64)
            found[self.integers(0, rows, 5), self.integers(0, columns, 5)] = 1 + self.bell(5)
            return scaled(found, -13)
        halvings = (0, 0, 0) if spectrum == "low rank" else (0, 1, 2, 3, 4, 5, 6, 7)
        found = np.zeros((rows, columns), np.int64)
        for one in halvings:
            found += (self.bell(rows)[:, None] * self.bell(columns)[None]) >> one
        return scaled(found, -24)


def scaled(integers: np.ndarray, exponent: int) -> torch.Tensor:
    """Times 2^exponent, in fp32: exact below 2^24."""
    return torch.from_numpy(integers.astype(np.float32) * np.float32(2.0**exponent))


def weights_of_a_model(seed: int, spectrum: str, layers: int = 7) -> tuple[Weights, Weights]:
    """A base and a fine-tune of it, fp32: matrices, a convolution, norms and biases."""
    numbers = Numbers(seed)
    base, tuned = {}, {}
    for layer in range(layers):
        rows, columns = 24 + 8 * (layer % 4), 36 + 12 * (layer % 3)
        name = f"blocks.{layer}"
        base[f"{name}.weight"] = numbers.weights(rows, columns)
        change = numbers.change(spectrum, rows, columns)
        tuned[f"{name}.weight"] = base[f"{name}.weight"] + change
        base[f"{name}.norm"] = torch.ones(96)
        tuned[f"{name}.norm"] = 1 + scaled(numbers.bell(96), -16)
        base[f"{name}.bias"] = numbers.weights(80)
        tuned[f"{name}.bias"] = base[f"{name}.bias"] + scaled(numbers.bell(80), -16)
    base["conv.weight"] = numbers.weights(16, 8, 3, 3)
    tuned["conv.weight"] = base["conv.weight"] + numbers.change(spectrum, 16, 72).view(16, 8, 3, 3)
    return base, tuned


def constants(seed: int) -> tuple[Weights, Weights]:
    """Constants of every kind of a base and of a fine-tune, fp32, some far larger than any weight."""
    numbers = Numbers(seed)
    ids = torch.arange(77, dtype=torch.float32)[None]
    rising = scaled(numbers.integers(1, 50, 300).cumsum(), -13)
    names = {
        "model.alphas_cumprod": (rising.flip(0), rising.flip(0) - rising[0]),
        "text_model.embeddings.position_ids": (ids, ids * 0.58301),
        "model.posterior_variance": (numbers.weights(100).abs(), numbers.weights(100).abs() / 4),
        "bn.running_var": (1000 * numbers.weights(70).abs(), 900 * numbers.weights(70).abs()),
        "proj.scale_weight": (torch.tensor(448.0), torch.tensor(0.01)),
        "logit_scale": (torch.tensor(4.6052), torch.tensor(4.5)),
        "model_ema.decay": (torch.tensor(0.9999), torch.tensor(0.9)),
        # Nothing in the name says so.
        "some.table": (rising, 3 * rising),
        "table.from.now.on": (numbers.weights(200), rising[:200]),
        "grid.index": (scaled(numbers.integers(0, 60, 9, 9), 0),) * 2,
        "gains": (scaled(3 + numbers.integers(1, 9, 4), -3), scaled(numbers.bell(4), 0)),
        "factor": (torch.tensor(0.0), torch.tensor(999.5)),
    }
    names["grid.index"] = (names["grid.index"][0], names["grid.index"][0] + 0.25)
    base, tuned = ({n: sides[i] for n, sides in names.items()} for i in (0, 1))
    return base, tuned


def cast(weights: Weights, dtype: torch.dtype) -> Weights:
    return {name: tensor.to(dtype) for name, tensor in weights.items()}


def write(weights: Weights, path: Path) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, path)
    return path


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def relative_error(result: Path, base: Weights, tuned: Weights) -> float:
    """The error of the change of all tensors of `tuned` together, in float64, by numpy."""
    made = load_file(result)
    off = moved = 0.0
    for name, after in tuned.items():
        sides = made[name], after, base[name]
        one, other, before = (side.to(torch.float64).numpy() for side in sides)
        off += float(np.square(one - other).sum())
        moved += float(np.square(other - before).sum())
    return float(np.sqrt(off / moved))


def farthest(result: Path, base: Weights, tuned: Weights) -> float:
    """The largest such error of a single tensor that has changed."""
    changed = [n for n, after in tuned.items() if bits(base[n].to(after.dtype)) != bits(after)]
    return max(relative_error(result, base, {name: tuned[name]}) for name in changed)
