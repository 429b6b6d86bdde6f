"""Ranks at a tau below the stored one (spec, section "Lower tau")."""

from __future__ import annotations

import math

import numpy as np

from ..errors import InvalidArgument, TauNotServed
from .reader import Container
from .records import LowRankRecord
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
    """Check that the container stores the ranks for `tau`.

    Raises `TauNotServed`, naming the largest tau that the container serves, and `InvalidArgument`.
    """
    if not tau > 0:
        raise InvalidArgument(f"tau {tau} is not above 0", "Give a tau in (0, 1].")
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
