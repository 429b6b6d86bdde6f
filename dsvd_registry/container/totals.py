"""Sums over the records of a container, and its summary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import assert_never

from .records import (
    RECORD_KINDS,
    BasedRecord,
    CastRecord,
    DeltaRecord,
    DenseRecord,
    Header,
    LowRankRecord,
    QuantisedRecord,
    RawRecord,
    SameRecord,
    TensorRecord,
)

CONSTANT = "constant"  # the row of raw tensors that are constants
ACCOUNT_KINDS = (*RECORD_KINDS, CONSTANT)
"""The rows of an account, in order."""

Summary = dict[str, int | float | str]


def kind_of(tensor: TensorRecord) -> str:
    """The row of the account that counts a tensor."""
    if isinstance(tensor, RawRecord) and tensor.reason == "constant":
        return CONSTANT
    return tensor.kind


def total_error(tensors: Iterable[TensorRecord]) -> float:
    """The relative Frobenius error over all deltas together."""
    deltas = [t for t in tensors if isinstance(t, DeltaRecord)]
    off = math.hypot(*(delta.error * delta.norm for delta in deltas))
    norm = math.hypot(*(delta.norm for delta in deltas))
    return off / norm if norm else 0.0


def total_change(tensors: Iterable[TensorRecord]) -> float:
    """The Frobenius norm of all deltas, over that of the base weights that they change."""
    deltas = [t for t in tensors if isinstance(t, DeltaRecord)]
    norm = math.hypot(*(delta.norm for delta in deltas))
    base_norm = math.hypot(*(delta.base_norm for delta in deltas))
    if not base_norm:
        return math.inf if norm else 0.0
    return norm / base_norm


def stored_parameters(tensor: TensorRecord) -> int:
    """The number of parameters that a record stores."""
    return _parameters(tensor, tensor.rank if isinstance(tensor, LowRankRecord) else 0)


def uncapped_parameters(tensor: TensorRecord) -> int:
    """The number of parameters that it would store if the noise rank did not cap the tau rank."""
    return _parameters(
        tensor, max(tensor.rank, tensor.tau_rank) if isinstance(tensor, LowRankRecord) else 0
    )


def is_capped(tensor: TensorRecord) -> bool:
    """True if the stored rank is below the tau rank, because the rest is rounding noise."""
    return isinstance(tensor, LowRankRecord) and tensor.rank < tensor.tau_rank


def _parameters(tensor: TensorRecord, rank: int) -> int:
    match tensor:
        case SameRecord():
            return _new_elements(tensor)
        case LowRankRecord():
            return rank * sum(tensor.matrix_shape) + _new_elements(tensor)
        case DenseRecord() | RawRecord():
            return tensor.elements
        case CastRecord() | QuantisedRecord():
            return 0
        case _:
            assert_never(tensor)


def _new_elements(tensor: BasedRecord) -> int:
    """The number of elements in new rows."""
    return tensor.elements - math.prod(tensor.common_shape)


def summary_of(header: Header) -> Summary:
    """The figures of a container that `ls` shows, as an event has them."""
    counts = Counter(map(kind_of, header.tensors))
    change = total_change(header.tensors)
    summary: Summary = {kind: counts[kind] for kind in ACCOUNT_KINDS}
    return summary | {
        "tau": header.encoding.tau,
        "tensors": len(header.tensors),
        "parameters": sum(tensor.elements for tensor in header.tensors),
        "error": total_error(header.tensors),
        "change": change if change < math.inf else -1.0,
    }
