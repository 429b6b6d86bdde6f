"""From a checkpoint and a base to a container in the store.

source tensors -> codec -> records and parts -> container; then the container is read back and
materialised once, in memory, before it becomes an object: what is in the store has been seen to work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..checkpoint import Checkpoint, LeftOut
from ..checkpoint.layout import canonical_layout, kept_layout
from ..container import limits
from ..container.reader import Container
from ..container.records import (
    RESULT_PATH,
    Encoding,
    Header,
    Omission,
    Part,
    Result,
    Source,
    TensorRecord,
)
from ..container.writer import PayloadWriter, write_container
from ..errors import BaseMismatch, CheckpointError
from ..fs import storage_errors
from ..store import ObjectStore, StoredObject
from .base_weights import BaseWeights
from .encoding import common_part, pack_tensor
from .in_order import in_order
from .progress import Meter, Progress
from .reconstruction import Reconstruction, result_layout

NOT_YET = "0" * 64  # where the result's digest will stand, which depends on all the rest


def store_container(
    checkpoint: Checkpoint,
    source: Source,
    base: BaseWeights,
    encoding: Encoding,
    objects: ObjectStore,
    progress: Progress,
) -> StoredObject:
    """Encode `checkpoint` against `base` into a new object.

    Raises `BaseMismatch` if they share no tensor, `CheckpointError`, `StorageError`.
    """
    check_related(checkpoint, base)
    _check_storable(checkpoint)
    names = sorted(checkpoint.tensors, key=str.encode)
    numbers = {name: number for number, name in enumerate(names)}
    records: dict[str, TensorRecord] = {}
    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        payload = PayloadWriter(scratch)
        meter = Meter(progress, "encoding", sum(t.nbytes for t in checkpoint.tensors.values()))
        with in_order(
            lambda info: pack_tensor(checkpoint, info, base, encoding),
            (checkpoint.tensors[name] for name in _data_order(checkpoint)),
            lambda info: info.elements,
        ) as packed_tensors:
            for packed in packed_tensors:
                record = packed.record
                for part in packed.parts:
                    place = Part(numbers[record.name], part.count)
                    payload.add(part.content, place, part.data, part.band)
                records[record.name] = record
                meter.advance(record.nbytes)
        if checkpoint.header is not None:
            payload.add("source_header", None, checkpoint.header)
        frames, payload_sha256 = payload.finish()
        header = Header(
            base_digest=base.digest,
            base_name=base.name,
            encoding=encoding,
            source=source,
            left_out=tuple(_omission(entry) for entry in checkpoint.left_out),
            tensors=tuple(records[name] for name in names),
            frames=frames,
            payload_sha256=payload_sha256,
            results=(),
        )
        result = _result(header, checkpoint.header, payload, base, objects, progress)
        header = replace(header, results=(result,))
        with objects.new_object() as writer:
            write_container(header, payload.chunks(), writer)
            return writer.commit()


def check_related(checkpoint: Checkpoint, base: BaseWeights) -> None:
    """From the headers alone. Raises `BaseMismatch` if no tensor has a counterpart in the base."""
    if not any(common_part(info, base) for info in checkpoint.tensors.values()):
        some = ", ".join(repr(name) for name in list(checkpoint.tensors)[:3]) or "none at all"
        raise BaseMismatch(
            f"{checkpoint.path} shares no tensor with the base {base.name!r}: it has {some}",
            "Give the base that the checkpoint was fine-tuned from, in the same layout.",
        )


def _check_storable(checkpoint: Checkpoint) -> None:
    """What a container cannot hold is said before minutes are spent on the rest."""
    if max(len(checkpoint.tensors), len(checkpoint.left_out)) > limits.MAX_TENSORS:
        raise CheckpointError(f"{checkpoint.path} has more than {limits.MAX_TENSORS} tensors")
    for info in checkpoint.tensors.values():
        if not limits.shape_fits(info.shape):
            raise CheckpointError(
                f"{checkpoint.path}: tensor {info.name!r} has a shape over the limits"
            )


def _omission(entry: LeftOut) -> Omission:
    """Names come from the file: they may be empty, or longer than a container takes."""
    most = limits.MAX_NAME_BYTES // 4  # characters, of at most four bytes each
    return Omission(entry.name[:most] or "''", entry.reason[:most] or "''")


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
