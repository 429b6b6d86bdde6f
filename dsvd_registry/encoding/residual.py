"""Building of a residual, which makes a version lossless, up to the object in the store.

source and result -> differences -> residual. Before the residual becomes an object, it is read back
and the source made from it once in memory, so that everything in the store is known to work.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..checkpoint import Checkpoint
from ..codec.encode_lossless import components_on_top
from ..codec.encoded import LowRank
from ..codec.quantise import split
from ..codec.torch_tensors import tensor_over
from ..container.reader import Container
from ..container.records import BasedRecord, DeltaRecord, QuantisedRecord, Result
from ..errors import CheckpointError
from ..fs import storage_errors
from ..progress import Meter, Progress
from ..reconstruction.base_weights import BaseWeights
from ..reconstruction.lossless import Lossless, LosslessReconstruction
from ..reconstruction.prediction import Prediction, whole
from ..reconstruction.reconstruction import Reconstruction
from ..reconstruction.result_layout import ResultFile, source_files
from ..residual.compiled import kernels_for
from ..residual.kernels import Kernels
from ..residual.ordered import Bits
from ..residual.reader import Residual
from ..residual.records import ResidualTensor, elements_of
from ..residual.run import ELEMENTS, encode_run
from ..residual.writer import ResidualWriter, StoredFrame, component_frames, run_frame
from ..store import ObjectStore, StoredObject
from ..threads import in_order, threads
from .parts import component_table
from .store_fine_tune import large_headers_named

# Of the tensors in work, so that memory does not grow with the checkpoint.
ELEMENTS_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class Lossy:
    """The lossy part of a version: its open container, that object's SHA-256, and its base.

    `is_for_lossless`: whether the ranks were chosen for the fewest bytes together with a residual.
    """

    container: Container
    sha256: str
    base: BaseWeights
    is_for_lossless: bool


def store_residual(
    checkpoint: Checkpoint, lossy: Lossy, device: str, objects: ObjectStore, progress: Progress
) -> StoredObject:
    """Encode the difference between `checkpoint` and the result of `lossy`, which was made from it.

    Raises `BaseMismatch` for a damaged base, `ContainerError`, `CheckpointError`, `StorageError`.
    """
    with large_headers_named(checkpoint):
        return _store(checkpoint, lossy, device, objects, progress)


def _store(
    checkpoint: Checkpoint, lossy: Lossy, device: str, objects: ObjectStore, progress: Progress
) -> StoredObject:
    header = lossy.container.header
    # The check at the end compares every tensor of the base, and finds a damaged one.
    result = Reconstruction(lossy.container, lossy.base.unproven(), header.encoding.tau)
    deltas = [t for t in header.tensors if isinstance(t, DeltaRecord | QuantisedRecord)]
    on_top = None if lossy.is_for_lossless else device
    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        writer = ResidualWriter(scratch)
        meter = Meter(progress, "residual", sum(record.nbytes for record in deltas))

        elements = elements_of(map(_tensor, deltas))

        def encode(record: BasedRecord) -> tuple[ResidualTensor, list[StoredFrame]] | None:
            kernels = kernels_for(record.dtype, elements[record.dtype])
            return _encoded(checkpoint, result, record, on_top, kernels)

        with (
            threads() as pool,
            contextlib.closing(
                in_order(pool, encode, deltas, lambda record: record.elements, ELEMENTS_AT_ONCE)
            ) as encoded_tensors,
        ):
            for record, encoded in zip(deltas, encoded_tensors, strict=True):
                if encoded is not None:
                    writer.add(*encoded)
                meter.advance(record.nbytes)
        results = _results(checkpoint, lossy.container)
        with objects.new_object() as object_writer:
            writer.write(lossy.sha256, results, object_writer)
            with Residual(object_writer.readable()) as residual:
                lossless = Lossless(residual, lossy.sha256)
                restored = LosslessReconstruction(lossy.container, lossy.base, lossless)
                _check(restored, results, checkpoint, progress)
            return object_writer.commit()


def _encoded(
    checkpoint: Checkpoint,
    result: Reconstruction,
    record: BasedRecord,
    on_top: str | None,
    kernels: Kernels,
) -> tuple[ResidualTensor, list[StoredFrame]] | None:
    """The residual's frames of one tensor; None if the result equals the source.

    `on_top`: the device for computing additional components; None to try none.
    """
    tensor = _tensor(record)
    predicted = result.stored_tensor(record.name)
    predicted.prepare()
    try:
        frames: list[StoredFrame] = []
        prediction = Prediction(predicted, tensor, None, kernels)
        is_float = not isinstance(record, QuantisedRecord)
        low_rank = None
        if is_float and on_top is not None:
            low_rank = _on_top(checkpoint, tensor, prediction, on_top)
        if low_rank is not None:
            a, b, table = low_rank.components.a, low_rank.components.b, component_table(low_rank)
            tensor = replace(tensor, rank=table.rank)
            frames += component_frames(tensor, a, b, table)
            prediction = Prediction(predicted, tensor, low_rank.components, kernels)
        is_lacking = low_rank is not None
        for number, source in enumerate(_runs(checkpoint, tensor, record)):
            run = prediction.run(number)
            is_lacking = is_lacking or not np.array_equal(source, run.bits)
            frames.append(run_frame(encode_run(source, run, kernels)))
        return (tensor, frames) if is_lacking else None
    finally:
        predicted.release()
        checkpoint.release(record.name)


def _tensor(record: BasedRecord) -> ResidualTensor:
    """The residual's record of a tensor, without components of its own."""
    return ResidualTensor(record.name, record.dtype, record.common_shape, rank=0)


def _on_top(
    checkpoint: Checkpoint, tensor: ResidualTensor, prediction: Prediction, device: str
) -> LowRank | None:
    """Additional components for a better prediction, if they are worth their bytes."""
    data = checkpoint.read(tensor.name)[: tensor.elements * tensor.of.width]
    source = tensor_over(data, tensor.dtype, tensor.shape)
    result = tensor_over(whole(prediction, tensor).data, tensor.dtype, tensor.shape)
    return components_on_top(result, source, device)


def _runs(checkpoint: Checkpoint, tensor: ResidualTensor, record: BasedRecord) -> Iterator[Bits]:
    """The bits of the source's rows that have a counterpart in the base, run by run."""
    data = checkpoint.read(tensor.name)[: tensor.source_bytes(tensor.elements)]
    bits: Bits = np.frombuffer(data, tensor.of.unsigned)
    run = tensor.source_bytes(ELEMENTS) // tensor.of.width
    for first in range(0, len(bits), run):
        part = bits[first : first + run]
        if isinstance(record, QuantisedRecord):
            rule = record.quantisation
            part = split(part.view(np.uint8), rule.bits, rule.order == "low")
        yield part


def _results(checkpoint: Checkpoint, container: Container) -> tuple[Result, ...]:
    """The digests and sizes of the source's files.

    They are known already if the source is one file that comes back to the byte.
    """
    header = container.header
    files = source_files(header, container.source_headers())
    if header.tree is None and header.keeps_files:
        return (Result(files[0].path, header.source.sha256, header.source.size),)
    return tuple(_expected(file, checkpoint) for file in files)


def _expected(file: ResultFile, checkpoint: Checkpoint) -> Result:
    """The digest and size of a file of the source, computed from its tensors."""
    digest = hashlib.sha256(file.layout.prefix)
    for name in file.order:
        digest.update(checkpoint.read(name))
        checkpoint.release(name)
    return Result(file.path, digest.hexdigest(), file.size)


def _check(
    restored: LosslessReconstruction,
    results: Sequence[Result],
    checkpoint: Checkpoint,
    progress: Progress,
) -> None:
    digests = [digest.sha256 for digest in restored.digests(progress, "checking")]
    if digests != [result.sha256 for result in results]:
        raise CheckpointError(
            f"{checkpoint.path} cannot be restored to the byte",
            "Leave lossless out, and report this with the file.",
        )
