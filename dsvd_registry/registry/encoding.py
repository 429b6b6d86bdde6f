"""One tensor of a checkpoint into its record and the bytes of its parts. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.dtypes import DELTA_DTYPES
from ..codec.encode import SizeOf
from ..codec.encoded import Dense, Encoded, LowRank, Raw, Same
from ..codec.tensors import tensor_over
from ..container.records import BaseTensor, RawReason, TensorRecord
from .base_weights import BaseWeights
from .packing import PackedPart, bytes_parts, delta_parts, raw_record, record_of, stored_size

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
class Common:
    """The rows of a source tensor that its base has too, and how many are new."""

    base: BaseTensor
    shape: tuple[int, ...]
    new_rows: int


@dataclass(frozen=True)
class Sides:
    """The common rows of a source tensor and of its base, in the mapped files: not to be written."""

    base: torch.Tensor
    source: torch.Tensor


def pack_tensor(
    checkpoint: Checkpoint, info: TensorInfo, base: BaseWeights, codec: Codec
) -> PackedTensor:
    """Encode one tensor. Raises `BaseMismatch`, `CheckpointError`."""
    (packed,) = pack_each(checkpoint, info, base, lambda *sides: (codec(*sides),))
    return packed


def pack_each(
    checkpoint: Checkpoint, info: TensorInfo, base: BaseWeights, codecs: Codecs
) -> tuple[PackedTensor, ...]:
    """Encode one tensor in each way that `codecs` gives; where no delta can be taken there is one.

    Raises `BaseMismatch`, `CheckpointError`.
    """
    data = checkpoint.read(info.name)
    common = common_part(info, base)
    if common is None:
        parts = tuple(bytes_parts(data))
        packed: tuple[PackedTensor, ...]
        packed = (PackedTensor(raw_record(info, _why_raw(info, base)), parts, None),)
    else:
        held = _common_bytes(info, common, data)
        packed = tuple(
            PackedTensor(
                record_of(info, encoded, common.base, common.new_rows),
                tuple(_parts(encoded, data, held)),
                encoded.singular_values if isinstance(encoded, LowRank) else None,
            )
            for encoded in _encode(info, data[:held], common, base, codecs)
        )
    checkpoint.release(info.name)
    return packed


def common_part(info: TensorInfo, base: BaseWeights) -> Common | None:
    """What `info` has in common with the base's tensor of its name, if a delta can be taken."""
    found = base.tensors.get(info.name)
    if found is None:
        return None
    if info.dtype != found.dtype and not {info.dtype, found.dtype} <= set(DELTA_DTYPES):
        return None
    if info.shape == found.shape:
        return Common(found, info.shape, 0)
    longer = (
        0 < len(info.shape) == len(found.shape)
        and info.shape[1:] == found.shape[1:]
        and info.shape[0] > found.shape[0] > 0
        and info.dtype in DELTA_DTYPES
    )
    return Common(found, found.shape, info.shape[0] - found.shape[0]) if longer else None


def sides_of(checkpoint: Checkpoint, info: TensorInfo, base: BaseWeights) -> Sides | None:
    """What a delta of one tensor would be taken of, if one can be. Raises as `pack_tensor`."""
    common = common_part(info, base)
    if common is None or info.dtype not in DELTA_DTYPES:
        return None
    data = checkpoint.read(info.name)
    return _sides(info, data[: _common_bytes(info, common, data)], common, base)


def _common_bytes(info: TensorInfo, common: Common, data: memoryview) -> int:
    if not common.new_rows:
        return len(data)
    return len(data) // info.shape[0] * common.shape[0]


def _parts(encoded: Encoded, data: memoryview, held: int) -> Iterator[PackedPart]:
    """All of a raw tensor; otherwise its delta, and its new rows as they are."""
    if isinstance(encoded, Raw):
        yield from bytes_parts(data)
        return
    if isinstance(encoded, LowRank | Dense):
        yield from delta_parts(encoded)
    yield from bytes_parts(data[held:])


def _encode(
    info: TensorInfo, data: memoryview, common: Common, base: BaseWeights, codecs: Codecs
) -> Sequence[Encoded]:
    encoded: Sequence[Encoded]
    if info.dtype in DELTA_DTYPES:
        sides = _sides(info, data, common, base)
        encoded = codecs(sides.base, sides.source, lambda candidate: stored_size(candidate, data))
    else:
        encoded = (Same() if _same_bytes(base.read(common.base), data) else Raw("dtype"),)
    base.release(common.base)
    return encoded


def _same_bytes(left: memoryview, right: memoryview) -> bool:
    # Comparing memoryviews goes byte by byte; numpy compares as fast as memory allows.
    return np.array_equal(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8))


def _sides(info: TensorInfo, data: memoryview, common: Common, base: BaseWeights) -> Sides:
    return Sides(
        tensor_over(base.read(common.base), common.base.dtype, common.shape),
        tensor_over(data, info.dtype, common.shape),
    )


def _why_raw(info: TensorInfo, base: BaseWeights) -> RawReason:
    found = base.tensors.get(info.name)
    if found is None:
        return "new"
    if info.dtype not in DELTA_DTYPES:
        return "dtype"
    return "base_dtype" if found.dtype not in DELTA_DTYPES else "shape"
