"""From a checkpoint and a base to a container in the store.

source tensors -> codec -> records and parts -> container; then the container is read back and
materialised once, in memory, before it becomes an object: what is in the store has been seen to work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.dtypes import DELTA_DTYPES
from ..checkpoint.layout import canonical_layout, kept_layout
from ..codec.encode import Settings, encode
from ..codec.encoded import Encoded, Raw, Same
from ..codec.tensors import tensor_from_bytes
from ..container.reader import Container
from ..container.records import (
    RESULT_PATH,
    BaseTensor,
    Encoding,
    Header,
    Omission,
    RawReason,
    Result,
    Source,
    TensorRecord,
)
from ..container.writer import PayloadWriter, write_container
from ..errors import BaseMismatch
from ..fs import storage_errors
from ..store import ObjectStore, StoredObject
from .base_weights import BaseWeights
from .packing import pack_bytes, pack_encoded, raw_record, record_of, stored_size
from .progress import Meter, Progress
from .reconstruction import Reconstruction, result_layout

NOT_YET = "0" * 64  # where the result's digest will stand, which depends on all the rest


@dataclass(frozen=True)
class _Common:
    """The rows of a source tensor that its base has too, and how many are new."""

    base: BaseTensor
    shape: tuple[int, ...]
    new_rows: int


def store_container(
    checkpoint: Checkpoint,
    source: Source,
    base: BaseWeights,
    encoding: Encoding,
    objects: ObjectStore,
    progress: Progress,
) -> tuple[StoredObject, Header]:
    """Encode `checkpoint` against `base` into a new object.

    Raises `BaseMismatch` if they share no tensor, `CheckpointError`, `StorageError`.
    """
    check_related(checkpoint, base)
    names = sorted(checkpoint.tensors, key=str.encode)
    numbers = {name: number for number, name in enumerate(names)}
    records: dict[str, TensorRecord] = {}
    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        payload = PayloadWriter(scratch)
        meter = Meter(progress, "encoding", sum(t.nbytes for t in checkpoint.tensors.values()))
        for name in _data_order(checkpoint):
            info = checkpoint.tensors[name]
            records[name] = _add_tensor(checkpoint, info, numbers[name], base, encoding, payload)
            checkpoint.release(name)
            meter.advance(info.nbytes)
        if checkpoint.header is not None:
            payload.add("source_header", None, checkpoint.header)
        frames, payload_sha256 = payload.finish()
        header = Header(
            base_digest=base.digest,
            base_name=base.name,
            encoding=encoding,
            source=source,
            left_out=tuple(Omission(entry.name, entry.reason) for entry in checkpoint.left_out),
            tensors=tuple(records[name] for name in names),
            frames=frames,
            payload_sha256=payload_sha256,
            results=(),
        )
        result = _result(header, checkpoint.header, payload, base, objects, progress)
        header = replace(header, results=(result,))
        with objects.new_object() as writer:
            write_container(header, payload.chunks(), writer)
            return writer.commit(), header


def check_related(checkpoint: Checkpoint, base: BaseWeights) -> None:
    """From the headers alone. Raises `BaseMismatch` if no tensor has a counterpart in the base."""
    if not any(_common(info, base) for info in checkpoint.tensors.values()):
        some = ", ".join(repr(name) for name in list(checkpoint.tensors)[:3]) or "none at all"
        raise BaseMismatch(
            f"{checkpoint.path} shares no tensor with the base {base.name!r}: it has {some}",
            "Give the base that the checkpoint was fine-tuned from, in the same layout.",
        )


def _add_tensor(
    checkpoint: Checkpoint,
    info: TensorInfo,
    number: int,
    base: BaseWeights,
    encoding: Encoding,
    payload: PayloadWriter,
) -> TensorRecord:
    """Encode one tensor, put its numbers into the payload, and give its record."""
    data = checkpoint.read(info.name)
    common = _common(info, base)
    if common is None:
        pack_bytes(payload, number, data)
        return raw_record(info, _why_raw(info, base))
    held = len(data) if not common.new_rows else len(data) // info.shape[0] * common.shape[0]
    encoded = _encode(info, data[:held], common, base, encoding)
    if isinstance(encoded, Raw):
        pack_bytes(payload, number, data)
    elif not isinstance(encoded, Same):
        pack_encoded(payload, number, encoded)
    if common.new_rows and not isinstance(encoded, Raw):
        pack_bytes(payload, number, data[held:])
    return record_of(info, encoded, common.base, common.new_rows)


def _encode(
    info: TensorInfo, data: memoryview, common: _Common, base: BaseWeights, encoding: Encoding
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


def _common(info: TensorInfo, base: BaseWeights) -> _Common | None:
    """What `info` has in common with the base's tensor of its name, if a delta can be taken."""
    found = base.tensors.get(info.name)
    if found is None:
        return None
    if info.dtype != found.dtype and not {info.dtype, found.dtype} <= set(DELTA_DTYPES):
        return None
    if info.shape == found.shape:
        return _Common(found, info.shape, 0)
    longer = (
        0 < len(info.shape) == len(found.shape)
        and info.shape[1:] == found.shape[1:]
        and info.shape[0] > found.shape[0] > 0
        and info.dtype in DELTA_DTYPES
    )
    return _Common(found, found.shape, info.shape[0] - found.shape[0]) if longer else None


def _why_raw(info: TensorInfo, base: BaseWeights) -> RawReason:
    found = base.tensors.get(info.name)
    if found is None:
        return "new"
    if info.dtype not in DELTA_DTYPES:
        return "dtype"
    return "base_dtype" if found.dtype not in DELTA_DTYPES else "shape"


def _data_order(checkpoint: Checkpoint) -> Iterator[str]:
    """The order of the result's data, so that materialising reads every frame once."""
    if checkpoint.header is not None:
        yield from kept_layout(checkpoint.header).order
    else:
        yield from canonical_layout(checkpoint.tensors.values(), {}).order


def _result(
    header: Header,
    source_header: bytes | None,
    payload: PayloadWriter,
    base: BaseWeights,
    objects: ObjectStore,
    progress: Progress,
) -> Result:
    """Read the container back from disk as it will be, and digest what it gives."""
    size = result_layout(header, source_header, header.encoding.tau).size
    digest = header.source.sha256 if header.keeps_source else NOT_YET
    header = replace(header, results=(Result(RESULT_PATH, digest, size),))
    with objects.draft() as draft:
        write_container(header, payload.chunks(), draft)
        draft.flush()
        with Container(draft.path) as container:
            reconstruction = Reconstruction(container, base, header.encoding.tau)
            found = reconstruction.digest(progress, "checking")
    return Result(RESULT_PATH, found.sha256, found.size)
