"""Encoding of one tensor of a checkpoint as its record and the bytes of its parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
import numpy.typing as npt
import torch

from ..checkpoint import TensorInfo
from ..checkpoint.tensor_info import DELTA_DTYPES, tensor_bytes
from ..codec.encode_tau import SizeOf, compared
from ..codec.encoded import Dense, Encoded, LowRank, Raw, Same
from ..codec.tensor_pair import Pair
from ..codec.torch_tensors import tensor_over
from ..container.records import LowRankRecord, RawReason, TensorRecord
from ..container.table import rank_at
from ..reconstruction.base_view import ViewedBase
from ..reconstruction.base_weights import BaseWeights
from ..tau import MILLION
from .constants import Values, is_constant
from .fine_tune import Counterpart, FineTune
from .parts import PackedPart, bytes_parts, delta_parts, raw_record, record_of, stored_size
from .quantise_tensor import quantised_record

TOLD_APART = 1 << 10  # codes by which a rule that does not fit is known

Codec = Callable[[torch.Tensor, torch.Tensor, SizeOf], Encoded]
"""Encodes a source tensor (second) against a base tensor (first); the third sizes a candidate."""

Codecs = Callable[[torch.Tensor, torch.Tensor, SizeOf], Sequence[Encoded]]
"""Encodes a tensor in several ways at once; arguments as of `Codec`."""


@dataclass(frozen=True)
class PackedTensor:
    """A record and its parts, in order.

    `singular_values`: those of the stored components of a low-rank tensor, float32; None for
    others.
    """

    record: TensorRecord
    parts: tuple[PackedPart, ...]
    singular_values: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Sides:
    """The rows that a source tensor and its counterpart in the base have in common.

    Both may lie in mapped files and must not be written to. `is_constant`: whether the tensor is a
    constant, of which no delta is taken.
    """

    base: torch.Tensor
    source: torch.Tensor
    is_constant: bool


def pack_tensor(fine_tune: FineTune, info: TensorInfo, codec: Codec) -> PackedTensor:
    """Encode one tensor. Raises `BaseMismatch`, `CheckpointError`."""
    (packed,) = pack_each(fine_tune, info, lambda *sides: (codec(*sides),))
    return packed


def pack_each(fine_tune: FineTune, info: TensorInfo, codecs: Codecs) -> tuple[PackedTensor, ...]:
    """Encode one tensor in every way that `codecs` does; in a single way if no delta can be taken.

    Raises `BaseMismatch`, `CheckpointError`.
    """
    if info.name in fine_tune.casts:
        return (PackedTensor(fine_tune.casts[info.name], (), None),)
    data = fine_tune.checkpoint.read(info.name)
    counterpart = fine_tune.counterparts.found.get(info.name)
    packed: tuple[PackedTensor, ...]
    if info.name in fine_tune.quantised:
        quantised = quantised_record(fine_tune, info)
        if quantised is not None:
            return (PackedTensor(quantised, (), None),)
        # Of a few codes the differences may take more bytes than the codes, by the right rule, too.
        reason: RawReason = "scheme" if info.elements >= TOLD_APART else "smaller"
        packed = (PackedTensor(raw_record(info, reason), tuple(bytes_parts(data)), None),)
    elif counterpart is None:
        record = raw_record(info, fine_tune.counterparts.reasons[info.name])
        packed = (PackedTensor(record, tuple(bytes_parts(data)), None),)
    else:
        common = _common_bytes(info, counterpart, data)
        packed = tuple(
            PackedTensor(
                record_of(info, encoded, counterpart),
                tuple(_parts(encoded, data, common)),
                encoded.singular_values if isinstance(encoded, LowRank) else None,
            )
            for encoded in _encode(info, data[:common], counterpart, fine_tune.base, codecs)
        )
    fine_tune.checkpoint.release(info.name)
    return packed


def sides_of(fine_tune: FineTune, info: TensorInfo) -> Sides | None:
    """The two sides of a tensor's delta; None if no delta is taken. Raises as `pack_tensor`."""
    counterpart = fine_tune.counterparts.found.get(info.name)
    if counterpart is None or info.dtype not in DELTA_DTYPES or info.name in fine_tune.casts:
        return None
    data = fine_tune.checkpoint.read(info.name)
    sides = _sides(
        info, data[: _common_bytes(info, counterpart, data)], counterpart, fine_tune.base
    )
    return None if sides.is_constant else sides


def _common_bytes(info: TensorInfo, counterpart: Counterpart, data: memoryview) -> int:
    if not counterpart.new_rows:
        return len(data)
    return len(data) // info.shape[0] * counterpart.shape[0]


def _parts(encoded: Encoded, data: memoryview, common: int) -> list[PackedPart]:
    """All bytes of a raw tensor; otherwise the delta, followed by the bytes of new rows.

    `common`: the number of bytes before the new rows.
    """
    match encoded:
        case Raw():
            return bytes_parts(data)
        case LowRank() | Dense():
            return delta_parts(encoded) + bytes_parts(data[common:])
        case Same():
            return bytes_parts(data[common:])
        case _:
            assert_never(encoded)


def _encode(
    info: TensorInfo,
    data: memoryview,
    counterpart: Counterpart,
    base: BaseWeights,
    codecs: Codecs,
) -> Sequence[Encoded]:
    encoded: Sequence[Encoded]
    if info.dtype in DELTA_DTYPES:
        sides = _sides(info, data, counterpart, base)
        if sides.is_constant:
            encoded = (kept_exactly(sides.base, sides.source),)
        else:
            encoded = codecs(
                sides.base, sides.source, lambda candidate: stored_size(candidate, data)
            )
    else:
        encoded = (Same() if _same_bytes(viewed_bytes(counterpart, base), data) else Raw("dtype"),)
    for tensor in counterpart.base.tensors:
        base.release(tensor)
    return encoded


def kept_exactly(base: torch.Tensor, source: torch.Tensor) -> Same | Raw:
    """The record of a constant."""
    sides = compared(base, source)
    return Raw("constant") if isinstance(sides, Pair) else sides


def _same_bytes(left: memoryview, right: memoryview) -> bool:
    # Python compares memoryviews byte by byte; numpy is as fast as memory allows.
    return np.array_equal(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8))


def _sides(
    info: TensorInfo, data: memoryview, counterpart: Counterpart, base: BaseWeights
) -> Sides:
    dtype, shape = counterpart.base.tensors[0].dtype, counterpart.shape
    viewed = viewed_bytes(counterpart, base)
    names = (info.name, *(tensor.name for tensor in counterpart.base.tensors))
    return Sides(
        tensor_over(viewed, dtype, shape),
        tensor_over(data, info.dtype, shape),
        is_constant(names, Values(viewed, dtype), Values(data, info.dtype)),
    )


def viewed_bytes(counterpart: Counterpart, base: BaseWeights) -> memoryview:
    """The bytes of the counterpart; they stay in the base's file if its view only reshapes them."""
    first = counterpart.base.tensors[0]
    if counterpart.base.view.kind == "reshape":
        return base.read(first)
    memory = np.empty(tensor_bytes(first.dtype, counterpart.shape), np.uint8)
    ViewedBase(counterpart.base, base).copy(0, memory)
    return memory.data


def stored_tau(packed_tensors: Mapping[str, PackedTensor]) -> float:
    """The largest tau that every tensor can serve; 1 if no tensor is low-rank.

    It is rounded down to millionths, so that no reader's sums fall short of it.
    """
    shares = [
        float(packed.singular_values.astype(np.float64).sum()) / packed.record.nuclear_norm
        for packed in packed_tensors.values()
        if isinstance(packed.record, LowRankRecord) and packed.singular_values is not None
    ]
    if not shares:
        return 1.0
    least = min(1.0, *shares) * (1 - 1e-9)
    return max(1, math.floor(least * MILLION)) / MILLION


def with_tau_rank(packed: PackedTensor, tau: float) -> TensorRecord:
    """The record of a packed tensor, with the tau rank for `tau`."""
    record, values = packed.record, packed.singular_values
    if not isinstance(record, LowRankRecord) or values is None:
        return record
    return replace(record, tau_rank=rank_at(values, tau, record.nuclear_norm))
