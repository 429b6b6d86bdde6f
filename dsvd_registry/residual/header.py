"""Conversion and checks of a residual's header (spec/dsvd-residual-v1.md, section "Header")."""

from __future__ import annotations

import itertools
from dataclasses import replace

from ..checkpoint.folder_listing import listing_digest
from ..checkpoint.tensor_info import DTYPES
from ..checkpoint.tree import ListedFile
from ..container import limits
from ..container.fields import FieldReader, FieldWriter
from ..container.parse_header import check_features
from ..container.records import DeltaRecord, Header, KeptFile, QuantisedRecord, Result
from ..container.table import TABLE_ENTRY_SIZE
from ..errors import ContainerError
from .records import RESIDUAL_FORMATS, ResidualFrame, ResidualHeader, ResidualTensor
from .run import most_bytes


def header_bytes(header: ResidualHeader) -> bytes:
    """The bytes of `header`, which are compressed as one zstd frame."""
    fields = FieldWriter()
    fields.uint(0)  # features that a reader must have: none yet
    fields.digest(header.container)
    fields.uint(len(header.tensors))
    for tensor in header.tensors:
        fields.text(tensor.name)
        fields.code(tensor.dtype, DTYPES)
        fields.shape(tensor.shape)
        fields.uint(tensor.rank)
    fields.uint(len(header.frames))
    for frame in header.frames:
        fields.uint(frame.raw)
        fields.uint(frame.stored)
        fields.digest(frame.sha256)
    fields.uint(len(header.results))
    for result in header.results:
        fields.text(result.path)
        fields.digest(result.sha256)
        fields.uint(result.size)
    return bytes(fields.data)


def parse_header(data: bytes, payload_offset: int, file_bytes: int) -> ResidualHeader:
    """Parse the bytes of a header and check all its rules.

    `payload_offset`: the position of the first frame in the file. `file_bytes`: the size of the
    file. Raises `ContainerError`, `UnsupportedFeature`.
    """
    fields = FieldReader(data, file_bytes)
    check_features(fields)
    header = ResidualHeader(
        container=fields.digest("the container's digest"),
        tensors=fields.entries("tensors", limits.MAX_TENSORS, lambda: _tensor(fields)),
        frames=_placed(
            fields.entries("frames", limits.MAX_FRAMES, lambda: _frame(fields)), payload_offset
        ),
        results=fields.entries("results", limits.MAX_FILES, lambda: _result(fields), least=1),
    )
    fields.end()
    _check(header)
    return header


def check_goes_with(header: ResidualHeader, container: Header, sha256: str) -> None:
    """Check that the residual was made for this container. Raises `ContainerError`."""
    if header.container != sha256:
        raise ContainerError(
            f"the residual goes with the container {header.container}, and not with {sha256}"
        )
    deltas = {t.name: t for t in container.tensors if isinstance(t, DeltaRecord | QuantisedRecord)}
    for tensor in header.tensors:
        record = deltas.get(tensor.name)
        if record is None or (record.dtype, record.common_shape) != (tensor.dtype, tensor.shape):
            raise ContainerError(f"the container has no record like that of tensor {tensor.name!r}")
    paths = [result.path for result in container.results]
    if [result.path for result in header.results] != paths:
        raise ContainerError("the residual's results are not the files of the container's")
    if container.keeps_files and _digest_of(header, container) != container.source.sha256:
        raise ContainerError("the residual's results are not the source of the container")


def _digest_of(header: ResidualHeader, container: Header) -> str:
    """The SHA-256 of the source, a file or a folder, that follows from the results."""
    if container.tree is None:
        return header.results[0].sha256
    files = [ListedFile(result.path, result.sha256, result.size) for result in header.results]
    kept = [file for file in container.tree if isinstance(file, KeptFile)]
    files += [ListedFile(file.path, file.sha256, file.size) for file in kept]
    return listing_digest(files)


def _tensor(fields: FieldReader) -> ResidualTensor:
    name, dtype = fields.text("the name"), fields.code("the dtype", DTYPES)
    if dtype not in RESIDUAL_FORMATS:
        raise fields.fail(f"there are no differences of {dtype}")
    tensor = ResidualTensor(
        name, dtype, fields.shape(), fields.uint("rank", 0, limits.MAX_COMPONENTS)
    )
    if not tensor.elements:
        raise fields.fail("it has no elements")
    if tensor.rank and (len(tensor.shape) < 2 or tensor.rank > min(tensor.matrix_shape)):
        raise fields.fail("its rank is over that of its shape")
    return tensor


def _frame(fields: FieldReader) -> ResidualFrame:
    raw = fields.uint("raw", 1, limits.MAX_FRAME_RAW)
    stored = fields.uint("stored", 1, limits.MAX_FRAME_STORED)
    return ResidualFrame(raw, stored, fields.digest("the digest"))


def _placed(frames: tuple[ResidualFrame, ...], offset: int) -> tuple[ResidualFrame, ...]:
    """The frames with their positions in the file, one after another."""
    ends = itertools.accumulate((frame.stored for frame in frames), initial=offset)
    return tuple(replace(one, offset=start) for one, start in zip(frames, ends, strict=False))


def _result(fields: FieldReader) -> Result:
    return Result(fields.text("the path"), fields.digest("the digest"), fields.uint("the size"))


def _check(header: ResidualHeader) -> None:
    names = [tensor.name.encode() for tensor in header.tensors]
    if any(left >= right for left, right in itertools.pairwise(names)):
        raise ContainerError("the tensors are not sorted by name, or a name stands twice")
    if sum(tensor.rank for tensor in header.tensors) > limits.MAX_COMPONENTS:
        raise ContainerError(f"there are more than {limits.MAX_COMPONENTS} components")
    if sum(tensor.frames for tensor in header.tensors) != len(header.frames):
        raise ContainerError("there are not as many frames as the tensors have")
    frames = iter(enumerate(header.frames))
    for tensor in header.tensors:
        if tensor.rank:
            number, frame = next(frames)
            _check_raw(number, frame, TABLE_ENTRY_SIZE * tensor.rank, exactly=True)
        for count in tensor.component_counts:
            number, frame = next(frames)
            _check_raw(number, frame, 4 * count * sum(tensor.matrix_shape))
        for run in range(tensor.runs):
            number, frame = next(frames)
            _check_raw(number, frame, most_bytes(tensor.run_elements(run), tensor.of))


def _check_raw(number: int, frame: ResidualFrame, most: int, *, exactly: bool = False) -> None:
    if frame.raw > most or (exactly and frame.raw != most):
        raise ContainerError(f"frames[{number}] declares {frame.raw} bytes for {most}")
    loose = frame.raw > limits.FREE_FRAME_RAW
    if loose and frame.raw > limits.MAX_RAW_OF_STORED * frame.stored:
        raise ContainerError(f"frames[{number}] declares {frame.raw} bytes of {frame.stored}")
