"""Sums over the records of a container, or of one that might be made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import assert_never

from .records import (
    BasedRecord,
    CastRecord,
    DeltaRecord,
    DenseRecord,
    LowRankRecord,
    RawRecord,
    SameRecord,
    TensorRecord,
)


def total_error(tensors: Iterable[TensorRecord]) -> float:
    """The relative Frobenius error of all deltas together."""
    deltas = [t for t in tensors if isinstance(t, DeltaRecord)]
    off = math.hypot(*(delta.error * delta.norm for delta in deltas))
    norm = math.hypot(*(delta.norm for delta in deltas))
    return off / norm if norm else 0.0


def total_change(tensors: Iterable[TensorRecord]) -> float:
    """The Frobenius norm of all deltas over that of the weights that they change."""
    deltas = [t for t in tensors if isinstance(t, DeltaRecord)]
    norm = math.hypot(*(delta.norm for delta in deltas))
    base_norm = math.hypot(*(delta.base_norm for delta in deltas))
    if not base_norm:
        return math.inf if norm else 0.0
    return norm / base_norm


def stored_parameters(tensor: TensorRecord) -> int:
    """The numbers that a record keeps."""
    return _kept(tensor, tensor.rank if isinstance(tensor, LowRankRecord) else 0)


def uncapped_parameters(tensor: TensorRecord) -> int:
    """Those that it would keep if tau's rank were not capped at the rounding noise."""
    return _kept(
        tensor, max(tensor.rank, tensor.tau_rank) if isinstance(tensor, LowRankRecord) else 0
    )


def is_capped(tensor: TensorRecord) -> bool:
    """Whether fewer components are stored than tau's rank: the rest is rounding noise."""
    return isinstance(tensor, LowRankRecord) and tensor.rank < tensor.tau_rank


def _kept(tensor: TensorRecord, rank: int) -> int:
    match tensor:
        case SameRecord():
            return _new(tensor)
        case LowRankRecord():
            return rank * sum(tensor.matrix_shape) + _new(tensor)
        case DenseRecord() | RawRecord():
            return tensor.elements
        case CastRecord():
            return 0
        case _:
            assert_never(tensor)


def _new(tensor: BasedRecord) -> int:
    """Elements of the rows that the base lacks."""
    return tensor.elements - math.prod(tensor.common_shape)
