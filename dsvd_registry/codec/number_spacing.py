"""How far apart the numbers of a dtype lie, at the elements of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

FORMATS = {
    torch.float32: (np.uint32, 23, 127),
    torch.float16: (np.uint16, 10, 15),
    torch.bfloat16: (np.uint16, 7, 127),
}  # a number's bits, those of its mantissa, and the bias of its exponent
SAMPLE_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Spacings:
    """`sizes`: steps from a number to its next, float64 (k,); `shares`: of the elements, (k,)."""

    sizes: torch.Tensor
    shares: torch.Tensor

    @property
    def mean_square(self) -> float:
        """Of the step at each element."""
        return float(self.shares @ torch.square(self.sizes))


def spacings(values: torch.Tensor) -> Spacings:
    """Of a contiguous CPU tensor of F32, F16 or BF16 with at least one element, by a sample."""
    unsigned, mantissa, bias = FORMATS[values.dtype]
    flat = values.reshape(-1)
    sample = flat[:: max(1, len(flat) // SAMPLE_ELEMENTS)].contiguous()
    bits = sample.view(torch.uint8).numpy().view(unsigned)
    exponents = (bits >> mantissa) & ((1 << (8 * bits.itemsize - 1 - mantissa)) - 1)
    counts = np.bincount(np.maximum(exponents, 1))  # subnormal numbers lie as the least others do
    present = np.flatnonzero(counts)
    return Spacings(
        torch.from_numpy(np.ldexp(1.0, present - bias - mantissa)),
        torch.from_numpy(counts[present] / len(sample)),
    )
