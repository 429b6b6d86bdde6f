"""Decoding of a stored delta, and the ranks at a lower tau (spec, section "Lower tau")."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from ..codec.components import Components, Elements, GridDelta
from ..errors import TauNotServed
from .reader import Container
from .records import (
    CastRecord,
    DenseRecord,
    Header,
    LowRankRecord,
    QuantisedRecord,
    RawRecord,
    SameRecord,
)
from .table import ComponentTable


def served_rank(record: LowRankRecord, table: ComponentTable, stored: float, tau: float) -> int:
    """The rank that `tau` needs of the tensor; more than `record.rank` if the container lacks it.

    A rank that was capped at the noise rank serves every tau.
    """
    if tau == stored:
        return record.rank
    wanted = min(table.rank_at(tau, record.nuclear_norm), record.tau_rank)
    if wanted > record.rank >= record.noise_rank:
        return record.rank
    return wanted


def check_served(container: Container, tau: float) -> None:
    """Check that the container stores the ranks of `tau`, a whole number of millionths.

    Raises `TauNotServed`, naming the largest tau that the container serves.
    """
    stored = container.header.encoding.tau
    largest, served = stored, tau <= stored
    for index, record in enumerate(container.header.tensors):
        if isinstance(record, LowRankRecord):
            table = container.table(index)
            if served_rank(record, table, stored, min(tau, stored)) > record.rank:
                served = False
                total = float(np.cumsum(table.singular_values.astype(np.float64))[-1])
                largest = min(largest, total / record.nuclear_norm)
    if not served:
        if largest < stored:  # rounded down, so that the container serves it
            largest = math.floor(largest * 1e4) / 1e4
        raise TauNotServed(
            f"tau {tau!r} is not stored: the largest that this version serves is {largest!r}",
            f"Ask for --tau {largest!r} or less, or add the checkpoint again with a larger tau.",
        )


def check_lossy_result(header: Header) -> None:
    """Check that a result without the residual means something.

    Raises `TauNotServed` where the change of quantised weights is in the residual alone.
    """
    quantised = sum(isinstance(record, QuantisedRecord) for record in header.tensors)
    if quantised:
        raise TauNotServed(
            f"{quantised} tensors of this version are quantised weights, which come back lossless only",
            "Leave tau out: the version then gives its source to the byte.",
        )


def expect_result(container: Container, tau: float) -> None:
    """Tell the container that its whole result at `tau` will be made, so that it can be fetched."""
    stored = container.header.encoding.tau
    container.expect(
        {
            index: served_rank(record, container.table(index), stored, tau)
            for index, record in enumerate(container.header.tensors)
            if isinstance(record, LowRankRecord)
        }
    )


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
        case SameRecord() | RawRecord() | CastRecord() | QuantisedRecord():
            return None
        case _:
            assert_never(record)
