"""One tensor of a checkpoint into its record and the bytes of its parts. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.dtypes import DELTA_DTYPES
from ..codec.encode import Settings, encode
from ..codec.encoded import Dense, Encoded, LowRank, Raw, Same
from ..codec.tensors import tensor_from_bytes
from ..container.records import BaseTensor, Encoding, RawReason, TensorRecord
from .base_weights import BaseWeights
from .packing import PackedPart, bytes_parts, delta_parts, raw_record, record_of, stored_size


@dataclass(frozen=True)
class PackedTensor:
    """A record, and the parts that belong to it, in order."""

    record: TensorRecord
    parts: tuple[PackedPart, ...]


@dataclass(frozen=True)
class Common:
    """The rows of a source tensor that its base has too, and how many are new."""

    base: BaseTensor
    shape: tuple[int, ...]
    new_rows: int


def pack_tensor(
    checkpoint: Checkpoint, info: TensorInfo, base: BaseWeights, encoding: Encoding
) -> PackedTensor:
    """Encode one tensor. Raises `BaseMismatch`, `CheckpointError`."""
    data = checkpoint.read(info.name)
    common = common_part(info, base)
    if common is None:
        packed = PackedTensor(raw_record(info, _why_raw(info, base)), tuple(bytes_parts(data)))
    else:
        rows = common.shape[0] if common.new_rows else 1
        held = len(data) // (info.shape[0] if common.new_rows else 1) * rows
        encoded = _encode(info, data[:held], common, base, encoding)
        record = record_of(info, encoded, common.base, common.new_rows)
        packed = PackedTensor(record, tuple(_parts(encoded, data, held)))
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


def _parts(encoded: Encoded, data: memoryview, held: int) -> Iterator[PackedPart]:
    """All of a raw tensor; otherwise its delta, and its new rows as they are."""
    if isinstance(encoded, Raw):
        yield from bytes_parts(data)
        return
    if isinstance(encoded, LowRank | Dense):
        yield from delta_parts(encoded)
    yield from bytes_parts(data[held:])


def _encode(
    info: TensorInfo, data: memoryview, common: Common, base: BaseWeights, encoding: Encoding
) -> Encoded:
    base_data = base.read(common.base)
    if info.dtype == common.base.dtype and _same_bytes(base_data, data):
        encoded: Encoded = Same()
    elif info.dtype not in DELTA_DTYPES:
        encoded = Raw("dtype")
    else:
        encoded = encode(
            tensor_from_bytes(base_data, common.base.dtype, common.shape),
            tensor_from_bytes(data, info.dtype, common.shape),
            Settings(encoding.tau, encoding.grid_noise),
            lambda candidate: stored_size(candidate, data),
        )
    base.release(common.base)
    return encoded


def _same_bytes(left: memoryview, right: memoryview) -> bool:
    # Comparing memoryviews goes byte by byte; numpy compares as fast as memory allows.
    return np.array_equal(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8))


def _why_raw(info: TensorInfo, base: BaseWeights) -> RawReason:
    found = base.tensors.get(info.name)
    if found is None:
        return "new"
    if info.dtype not in DELTA_DTYPES:
        return "dtype"
    return "base_dtype" if found.dtype not in DELTA_DTYPES else "shape"
