"""The tau of a container whose ranks were not chosen by a tau."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..container.records import LowRankRecord, TensorRecord
from ..container.table import rank_at
from .encode_tensor import PackedTensor


def stored_tau(packed_tensors: Mapping[str, PackedTensor]) -> float:
    """The largest tau that every tensor can serve; 1 if no tensor is low-rank.

    It is rounded down to four digits, so that no reader's sums fall short of it.
    """
    shares = [
        float(packed.singular_values.astype(np.float64).sum()) / packed.record.nuclear_norm
        for packed in packed_tensors.values()
        if isinstance(packed.record, LowRankRecord) and packed.singular_values is not None
    ]
    if not shares:
        return 1.0
    least = min(shares) * (1 - 1e-9)
    digit = 10.0 ** (math.floor(math.log10(least)) - 3)
    return min(1.0, float(f"{math.floor(least / digit) * digit:.4g}"))


def with_tau_rank(packed: PackedTensor, tau: float) -> TensorRecord:
    """The record of a packed tensor, with the tau rank for `tau`."""
    record, values = packed.record, packed.singular_values
    if not isinstance(record, LowRankRecord) or values is None:
        return record
    return replace(record, tau_rank=rank_at(values, tau, record.nuclear_norm))
