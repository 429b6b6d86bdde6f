"""Decoding of a record's stored delta to numbers, for all users of deltas."""

from __future__ import annotations

from typing import assert_never

from ..codec.components import Components, Elements, GridDelta
from .lower_tau import served_rank
from .reader import Container
from .records import CastRecord, DenseRecord, LowRankRecord, RawRecord, SameRecord


def decoded_delta(container: Container, tensor: int, tau: float | None = None) -> GridDelta | None:
    """The delta of tensor number `tensor` to its base, at `tau` (default: the stored one).

    It consists of components of the (m, rest) matrix of the common rows, or of one integer for each
    of their elements. None for a tensor without a stored delta: one that is `same`, `raw` or a `cast`.
    The container must serve `tau`. Raises `ContainerError` for damage.
    """
    record = container.header.tensors[tensor]
    match record:
        case LowRankRecord():
            table, stored = container.table(tensor), container.header.encoding.tau
            rank = served_rank(record, table, stored, stored if tau is None else tau)
            return Components(*container.components(tensor, rank), table.exponents[:rank])
        case DenseRecord():
            return Elements(container.elements(tensor), record.exponent)
        case SameRecord() | RawRecord() | CastRecord():
            return None
        case _:
            assert_never(record)
