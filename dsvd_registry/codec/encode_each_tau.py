"""Encoding of one tensor at several values of tau, with one singular value decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .arithmetic import one_blas_thread
from .encode_tau import EncodeRequest, SizeOf, compared, encode_delta, ranks
from .encoded import Encoded
from .exact_product_torch import CPU, ieee_arithmetic
from .spectrum import spectrum
from .tensor_pair import Pair


@dataclass(frozen=True)
class EncodedCurve:
    """The results of `encode` for one tensor with each of several requests.

    `singular_values`: all of the delta's, float64, falling; empty for a vector and for a tensor
    without a delta.
    """

    records: tuple[Encoded, ...]
    singular_values: npt.NDArray[np.float64]


def encode_each(
    base: torch.Tensor, source: torch.Tensor, requests: Sequence[EncodeRequest], size_of: SizeOf
) -> EncodedCurve:
    """Encode a tensor with each of `requests`, which differ in tau only; else as `encode`."""
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return EncodedCurve((sides,) * len(requests), np.empty(0))
        svd = None
        if source.ndim >= 2:
            matrix = sides.delta.to(requests[0].device)
            svd = spectrum(matrix, *(request.tau for request in requests))
            svd = svd.reaching(max(ranks(sides, svd, request)[1] for request in requests))
        records = tuple(encode_delta(sides, svd, request, size_of) for request in requests)
        values = svd.singular_values.numpy() if svd is not None else np.empty(0)
        return EncodedCurve(records, values)
