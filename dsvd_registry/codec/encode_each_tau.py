"""One tensor at several taus, from one decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .blas_threads import one_blas_thread
from .encode_tau import EncodeRequest, SizeOf, compared, encode_delta, ranks
from .encoded import Encoded
from .exact_product_torch import CPU, ieee_arithmetic
from .spectrum import spectrum
from .tensor_pair import Pair


@dataclass(frozen=True)
class EncodedCurve:
    """What `encode` makes of one tensor with each of several settings.

    `singular_values`: float64, falling, all of a delta's; empty where no matrix has changed.
    """

    records: tuple[Encoded, ...]
    singular_values: npt.NDArray[np.float64]


def encode_each(
    base: torch.Tensor, source: torch.Tensor, settings: Sequence[EncodeRequest], size_of: SizeOf
) -> EncodedCurve:
    """As `encode` with each of `settings`, which differ in tau alone; arguments as there."""
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return EncodedCurve((sides,) * len(settings), np.empty(0))
        found = None
        if source.ndim >= 2:
            matrix = sides.delta.to(settings[0].device)
            found = spectrum(matrix, *(one.tau for one in settings))
            found = found.reaching(max(ranks(sides, found, one)[1] for one in settings))
        records = tuple(encode_delta(sides, found, one, size_of) for one in settings)
        values = found.singular_values.numpy() if found is not None else np.empty(0)
        return EncodedCurve(records, values)
