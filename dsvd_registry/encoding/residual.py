"""What a container's result lacks to be its source, into an object of its own.

source and result -> differences -> residual; then it is read back and the source made of it once, in
memory, before it becomes an object: what is in the store has been seen to work.
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
from ..codec.torch_tensors import tensor_over
from ..container.reader import Container
from ..container.records import BasedRecord, DeltaRecord, Result
from ..errors import CheckpointError
from ..fs import storage_errors
from ..progress import Meter, Progress
from ..reconstruction.base_weights import BaseWeights
from ..reconstruction.lossless import Lossless, LosslessReconstruction
from ..reconstruction.prediction import Prediction, whole
from ..reconstruction.reconstruction import Reconstruction
from ..reconstruction.result_layout import ResultFile, source_files
from ..residual.ordered import Bits
from ..residual.reader import Residual
from ..residual.records import ResidualTensor
from ..residual.run import ELEMENTS, encode_run
from ..residual.writer import ResidualWriter, StoredFrame, component_frames, run_frame
from ..store import ObjectStore, StoredObject
from ..threads import in_order, threads
from .header_weight import heavy_headers_named
from .parts import component_table

ELEMENTS_AT_ONCE = (
    1 << 25
)  # of the tensors under way, so that memory does not grow with a checkpoint


@dataclass(frozen=True)
class Lossy:
    """A version as its container alone has it: the object `sha256`, over `base`.

    `is_for_lossless`: whether its ranks were chosen with the residual in view.
    """

    container: Container
    sha256: str
    base: BaseWeights
    is_for_lossless: bool


def store_residual(
    checkpoint: Checkpoint, lossy: Lossy, device: str, objects: ObjectStore, progress: Progress
) -> StoredObject:
    """Encode what the result of `lossy` lacks to be `checkpoint`, which it was made from.

    Raises `BaseMismatch` for a damaged base, `ContainerError`, `CheckpointError`, `StorageError`.
    """
    with heavy_headers_named(checkpoint):
        return _store(checkpoint, lossy, device, objects, progress)


def _store(
    checkpoint: Checkpoint, lossy: Lossy, device: str, objects: ObjectStore, progress: Progress
) -> StoredObject:
    header = lossy.container.header
    # A base that is damaged shows in the check, where every tensor of it is compared.
    result = Reconstruction(lossy.container, lossy.base.unproven(), header.encoding.tau)
    deltas = [t for t in header.tensors if isinstance(t, DeltaRecord)]
    on_top = None if lossy.is_for_lossless else device
    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        writer = ResidualWriter(scratch)
        meter = Meter(progress, "residual", sum(record.nbytes for record in deltas))

        def encode(record: BasedRecord) -> tuple[ResidualTensor, list[StoredFrame]] | None:
            return _encoded(checkpoint, result, record, on_top)

        with (
            threads() as pool,
            contextlib.closing(
                in_order(pool, encode, deltas, lambda record: record.elements, ELEMENTS_AT_ONCE)
            ) as made,
        ):
            for record, encoded in zip(deltas, made, strict=True):
                if encoded is not None:
                    writer.add(*encoded)
                meter.advance(record.nbytes)
        results = _results(checkpoint, lossy.container)
        with objects.new_object() as object_writer:
            writer.write(lossy.sha256, results, object_writer)
            with Residual(object_writer.readable()) as residual:
                lossless = Lossless(residual, lossy.sha256)
                again = LosslessReconstruction(lossy.container, lossy.base, lossless)
                _check(again, results, checkpoint, progress)
            return object_writer.commit()


def _encoded(
    checkpoint: Checkpoint, result: Reconstruction, record: BasedRecord, on_top: str | None
) -> tuple[ResidualTensor, list[StoredFrame]] | None:
    """One tensor's frames; None where the result is the source.

    `on_top`: the device for components that the container lacks; None where they are not tried.
    """
    tensor = ResidualTensor(record.name, record.dtype, record.common_shape, rank=0)
    predicted = result.stored_tensor(record.name)
    predicted.prepare()
    try:
        frames: list[StoredFrame] = []
        prediction = Prediction(predicted, tensor, None)
        own = None if on_top is None else _on_top(checkpoint, tensor, prediction, on_top)
        if own is not None:
            a, b, table = own.components.a, own.components.b, component_table(own)
            tensor = replace(tensor, rank=table.rank)
            frames += component_frames(tensor, a, b, table)
            prediction = Prediction(predicted, tensor, own.components)
        is_lacking = own is not None
        for number, source in enumerate(_runs(checkpoint, tensor)):
            bits = prediction.bits(number)
            is_lacking = is_lacking or not np.array_equal(source, bits)
            frames.append(run_frame(encode_run(source, bits, tensor.of)))
        return (tensor, frames) if is_lacking else None
    finally:
        predicted.release()
        checkpoint.release(record.name)


def _on_top(
    checkpoint: Checkpoint, tensor: ResidualTensor, prediction: Prediction, device: str
) -> LowRank | None:
    """Components that the container lacks, if they are worth their bytes."""
    data = checkpoint.read(tensor.name)[: tensor.elements * tensor.of.width]
    source = tensor_over(data, tensor.dtype, tensor.shape)
    result = tensor_over(whole(prediction, tensor).data, tensor.dtype, tensor.shape)
    return components_on_top(result, source, device)


def _runs(checkpoint: Checkpoint, tensor: ResidualTensor) -> Iterator[Bits]:
    """The bits of the part that has a counterpart in the base, run by run."""
    data = checkpoint.read(tensor.name)[: tensor.elements * tensor.of.width]
    bits: Bits = np.frombuffer(data, tensor.of.unsigned)
    for first in range(0, len(bits), ELEMENTS):
        yield bits[first : first + ELEMENTS]


def _results(checkpoint: Checkpoint, container: Container) -> tuple[Result, ...]:
    """What the files of the source are; of one that comes back to the byte that is known."""
    header = container.header
    files = source_files(header, container.source_headers())
    if header.tree is None and header.keeps_files:
        return (Result(files[0].path, header.source.sha256, header.source.size),)
    return tuple(_expected(file, checkpoint) for file in files)


def _expected(file: ResultFile, checkpoint: Checkpoint) -> Result:
    """A file of the source, as its tensors tell."""
    digest = hashlib.sha256(file.layout.prefix)
    for name in file.order:
        digest.update(checkpoint.read(name))
        checkpoint.release(name)
    return Result(file.path, digest.hexdigest(), file.size)


def _check(
    again: LosslessReconstruction,
    results: Sequence[Result],
    checkpoint: Checkpoint,
    progress: Progress,
) -> None:
    found = [digest.sha256 for digest in again.digests(progress, "checking")]
    if found != [result.sha256 for result in results]:
        raise CheckpointError(
            f"{checkpoint.path} cannot be given back to the byte",
            "Leave lossless out, and report this with the file.",
        )
