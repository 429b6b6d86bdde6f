"""Encoding of one tensor at several values of tau, with one singular value decomposition.

Taus that lead to the same rank, or to the same error of a vector, share one encoding too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from .arithmetic import one_blas_thread
from .encode_tau import EncodeRequest, SizeOf, compared, dense_error, encode_delta, ranks
from .encoded import Encoded, LowRank
from .exact_product_torch import CPU, ieee_arithmetic
from .spectrum import Spectrum, spectrum
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
        if source.ndim < 2:
            return EncodedCurve(_vector(sides, requests, size_of), np.empty(0))
        matrix = sides.delta.to(requests[0].device)
        svd = spectrum(matrix, *(request.tau for request in requests))
        svd = svd.reaching(max(ranks(sides, svd, request)[1] for request in requests))
        records = _matrix(sides, svd, requests, size_of)
        return EncodedCurve(records, svd.singular_values.numpy())


def _vector(sides: Pair, requests: Sequence[EncodeRequest], size_of: SizeOf) -> tuple[Encoded, ...]:
    known: dict[float, Encoded] = {}
    for request in requests:
        error = dense_error(request)
        if error not in known:
            known[error] = encode_delta(sides, None, request, size_of)
    return tuple(known[dense_error(request)] for request in requests)


def _matrix(
    sides: Pair, svd: Spectrum, requests: Sequence[EncodeRequest], size_of: SizeOf
) -> tuple[Encoded, ...]:
    known: dict[tuple[int, float], Encoded] = {}
    records = []
    for request in requests:
        wanted, rank = ranks(sides, svd, request)
        kind = rank, dense_error(request)  # which counts where no component is on the grid
        if kind not in known:
            known[kind] = encode_delta(sides, svd, request, size_of)
        encoded = known[kind]
        if isinstance(encoded, LowRank):
            encoded = replace(encoded, tau_rank=wanted)
        records.append(encoded)
    return tuple(records)
