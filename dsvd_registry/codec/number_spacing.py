"""Spacings between neighbouring numbers of a dtype, at the elements of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

FORMATS = {
    torch.float32: (np.uint32, 23, 127),
    torch.float16: (np.uint16, 10, 15),
    torch.bfloat16: (np.uint16, 7, 127),
}  # the integer type of a number's bits, its mantissa bits and the bias of its exponent
SAMPLE_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Spacings:
    """The k different spacings of a tensor's numbers.

    `sizes`: from a number to the next, float64 (k,). `shares`: of the elements that have it, (k,).
    """

    sizes: torch.Tensor
    shares: torch.Tensor

    @property
    def mean_square(self) -> float:
        """The mean over all elements of the squared spacing."""
        return float(self.shares @ torch.square(self.sizes))


def spacings(values: torch.Tensor) -> Spacings:
    """Estimate from a sample the spacings of a contiguous CPU tensor of F32, F16 or BF16.

    The tensor has at least one element.
    """
    unsigned, mantissa, bias = FORMATS[values.dtype]
    flat = values.reshape(-1)
    sample = flat[:: max(1, len(flat) // SAMPLE_ELEMENTS)].contiguous()
    bits = sample.view(torch.uint8).numpy().view(unsigned)
    exponents = (bits >> mantissa) & ((1 << (8 * bits.itemsize - 1 - mantissa)) - 1)
    counts = np.bincount(np.maximum(exponents, 1))  # subnormal: as the least normal
    present = np.flatnonzero(counts)
    return Spacings(
        torch.from_numpy(np.ldexp(1.0, present - bias - mantissa)),
        torch.from_numpy(counts[present] / len(sample)),
    )
