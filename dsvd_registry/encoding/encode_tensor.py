"""One tensor of a checkpoint into its record and the bytes of its parts. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt
import torch

from ..checkpoint import TensorInfo
from ..checkpoint.dtypes import DELTA_DTYPES, tensor_bytes
from ..codec.encode_tau import SizeOf, compared
from ..codec.encoded import Dense, Encoded, LowRank, Raw, Same
from ..codec.tensor_pair import Pair
from ..codec.torch_tensors import tensor_over
from ..container.records import TensorRecord
from ..reconstruction.base_view import ViewedBase
from ..reconstruction.base_weights import BaseWeights
from .constants import Values, is_constant
from .counterparts import Counterpart
from .fine_tune import FineTune
from .parts import PackedPart, bytes_parts, delta_parts, raw_record, record_of, stored_size

Codec = Callable[[torch.Tensor, torch.Tensor, SizeOf], Encoded]
"""What makes a record's content of a base's tensor, a source's, and the size of a candidate."""

Codecs = Callable[[torch.Tensor, torch.Tensor, SizeOf], Sequence[Encoded]]
"""What makes several of them at once."""


@dataclass(frozen=True)
class PackedTensor:
    """A record, and the parts that belong to it, in order.

    `singular_values`: float32, of the stored components of a low-rank tensor.
    """

    record: TensorRecord
    parts: tuple[PackedPart, ...]
    singular_values: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Sides:
    """The common rows of a source tensor and of its base, in the mapped files: not to be written.

    `is_constant`: whether they are kept to the bit, and no delta is taken of them.
    """

    base: torch.Tensor
    source: torch.Tensor
    is_constant: bool


def pack_tensor(fine_tune: FineTune, info: TensorInfo, codec: Codec) -> PackedTensor:
    """Encode one tensor. Raises `BaseMismatch`, `CheckpointError`."""
    (packed,) = pack_each(fine_tune, info, lambda *sides: (codec(*sides),))
    return packed


def pack_each(fine_tune: FineTune, info: TensorInfo, codecs: Codecs) -> tuple[PackedTensor, ...]:
    """Encode one tensor in each way that `codecs` gives; where no delta is taken there is one.

    Raises `BaseMismatch`, `CheckpointError`.
    """
    if info.name in fine_tune.casts:
        return (PackedTensor(fine_tune.casts[info.name], (), None),)
    data = fine_tune.checkpoint.read(info.name)
    counterpart = fine_tune.counterparts.found.get(info.name)
    packed: tuple[PackedTensor, ...]
    if counterpart is None:
        record = raw_record(info, fine_tune.counterparts.reasons[info.name])
        packed = (PackedTensor(record, tuple(bytes_parts(data)), None),)
    else:
        held = _common_bytes(info, counterpart, data)
        packed = tuple(
            PackedTensor(
                record_of(info, encoded, counterpart),
                tuple(_parts(encoded, data, held)),
                encoded.singular_values if isinstance(encoded, LowRank) else None,
            )
            for encoded in _encode(info, data[:held], counterpart, fine_tune.base, codecs)
        )
    fine_tune.checkpoint.release(info.name)
    return packed


def sides_of(fine_tune: FineTune, info: TensorInfo) -> Sides | None:
    """What a delta of one tensor would be taken of, if one is. Raises as `pack_tensor`."""
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


def _parts(encoded: Encoded, data: memoryview, held: int) -> Iterator[PackedPart]:
    """All of a raw tensor; otherwise its delta, and its new rows as they are."""
    match encoded:
        case Raw():
            yield from bytes_parts(data)
        case LowRank() | Dense():
            yield from delta_parts(encoded)
            yield from bytes_parts(data[held:])
        case Same():
            yield from bytes_parts(data[held:])
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
            encoded = codecs(sides.base, sides.source, lambda one: stored_size(one, data))
    else:
        encoded = (Same() if _same_bytes(_viewed(counterpart, base), data) else Raw("dtype"),)
    for tensor in counterpart.base:
        base.release(tensor)
    return encoded


def kept_exactly(base: torch.Tensor, source: torch.Tensor) -> Same | Raw:
    """The record of a constant."""
    found = compared(base, source)
    return Raw("constant") if isinstance(found, Pair) else found


def _same_bytes(left: memoryview, right: memoryview) -> bool:
    # Comparing memoryviews goes byte by byte; numpy compares as fast as memory allows.
    return np.array_equal(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8))


def _sides(
    info: TensorInfo, data: memoryview, counterpart: Counterpart, base: BaseWeights
) -> Sides:
    dtype, shape = counterpart.base[0].dtype, counterpart.shape
    viewed = _viewed(counterpart, base)
    names = (info.name, *(tensor.name for tensor in counterpart.base))
    return Sides(
        tensor_over(viewed, dtype, shape),
        tensor_over(data, info.dtype, shape),
        is_constant(names, Values(viewed, dtype), Values(data, info.dtype)),
    )


def _viewed(counterpart: Counterpart, base: BaseWeights) -> memoryview:
    """The counterpart's bytes: as they lie in the base's file where its view leaves them there."""
    tensors, view = counterpart.base, counterpart.view
    if view.kind == "reshape":
        return base.read(tensors[0])
    memory = np.empty(tensor_bytes(tensors[0].dtype, counterpart.shape), np.uint8)
    ViewedBase(tensors, view, base).copy(0, memory)
    return memory.data
