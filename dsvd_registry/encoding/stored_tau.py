"""The tau that a container serves whose ranks nobody chose by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..container.records import LowRankRecord, TensorRecord
from ..container.table import rank_at
from .encode_tensor import PackedTensor


def stored_tau(made: Mapping[str, PackedTensor]) -> float:
    """The largest that every tensor stores; 1 if all is stored.

    Rounded down to four digits, so that no reader's sums fall short of it.
    """
    shares = [
        float(packed.singular_values.astype(np.float64).sum()) / packed.record.nuclear_norm
        for packed in made.values()
        if isinstance(packed.record, LowRankRecord) and packed.singular_values is not None
    ]
    if not shares:
        return 1.0
    least = min(shares) * (1 - 1e-9)
    digit = 10.0 ** (math.floor(math.log10(least)) - 3)
    return min(1.0, float(f"{math.floor(least / digit) * digit:.4g}"))


def with_tau_rank(packed: PackedTensor, tau: float) -> TensorRecord:
    """The record of a tensor that is stored, with the rank that `tau` takes of it."""
    record, values = packed.record, packed.singular_values
    if not isinstance(record, LowRankRecord) or values is None:
        return record
    return replace(record, tau_rank=rank_at(values, tau, record.nuclear_norm))
