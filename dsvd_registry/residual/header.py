"""Conversion and checks of a residual's header (spec/dsvd-residual-v1.md, section "Header")."""

from __future__ import annotations

import itertools
from typing import Any

from .. import canonical
from ..checkpoint.folder_listing import listing_digest
from ..checkpoint.tree import ListedFile
from ..container import limits
from ..container.header import result_object
from ..container.parse_header import Fields, decode, parse_result, parse_shape
from ..container.records import DeltaRecord, Header, KeptFile
from ..container.table import TABLE_ENTRY_SIZE
from ..errors import ContainerError, HeaderTooHeavy, UnsupportedFeature
from .ordered import FORMATS
from .records import ResidualFrame, ResidualHeader, ResidualTensor
from .run import most_bytes


def header_json(header: ResidualHeader) -> bytes:
    """The canonical JSON of `header`. Raises `HeaderTooHeavy` if it is over the limit of readers."""
    value = {
        "container": header.container,
        "frames": [
            {"raw": frame.raw, "stored": frame.stored, "xxh3": frame.xxh3}
            for frame in header.frames
        ],
        "requires": [],
        "results": [result_object(result) for result in header.results],
        "tensors": [
            {"dtype": t.dtype, "name": t.name, "rank": t.rank, "shape": list(t.shape)}
            for t in header.tensors
        ],
    }
    try:
        return canonical.encode(value)
    except canonical.NotCanonical as error:
        raise HeaderTooHeavy(f"the header would be {error}") from error


def parse_header(text: bytes, payload_offset: int) -> ResidualHeader:
    """Parse the header from canonical JSON and check all its rules.

    `payload_offset`: the position of the first frame in the file. Raises `ContainerError`,
    `UnsupportedFeature`.
    """
    value = decode(text)
    requires = value.get("requires") if isinstance(value, dict) else None
    if not isinstance(requires, list) or not all(isinstance(name, str) for name in requires):
        raise ContainerError("requires is not an array of strings")
    if requires:
        raise UnsupportedFeature(f"the residual requires {requires[0]!r}, which is not known here")
    fields = Fields(value, "the header")
    fields.take("requires")
    results = fields.array("results", limits.MAX_FILES, least=1)
    header = ResidualHeader(
        container=fields.hexadecimal("container", 64),
        tensors=tuple(
            _tensor(entry, f"tensors[{i}]")
            for i, entry in enumerate(fields.array("tensors", limits.MAX_TENSORS))
        ),
        frames=_frames(fields.array("frames", limits.MAX_FRAMES), payload_offset),
        results=tuple(parse_result(entry, f"results[{i}]") for i, entry in enumerate(results)),
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
    deltas = {t.name: t for t in container.tensors if isinstance(t, DeltaRecord)}
    for tensor in header.tensors:
        record = deltas.get(tensor.name)
        if record is None or (record.dtype, record.common_shape) != (tensor.dtype, tensor.shape):
            raise ContainerError(f"the container has no delta like that of tensor {tensor.name!r}")
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


def _tensor(value: Any, where: str) -> ResidualTensor:
    fields = Fields(value, where)
    name, dtype = fields.text("name", limits.MAX_NAME_BYTES), fields.text("dtype", 32)
    shape = parse_shape(fields, where)
    if dtype not in FORMATS:
        raise ContainerError(f"{where}: there are no differences of {dtype}")
    tensor = ResidualTensor(name, dtype, shape, fields.integer("rank", 0, limits.MAX_COMPONENTS))
    fields.end()
    if not tensor.elements:
        raise ContainerError(f"{where} has no elements")
    if tensor.rank and (len(shape) < 2 or tensor.rank > min(tensor.matrix_shape)):
        raise ContainerError(f"{where}: its rank is over that of its shape")
    return tensor


def _frames(values: list[Any], offset: int) -> tuple[ResidualFrame, ...]:
    frames = []
    for i, value in enumerate(values):
        fields = Fields(value, f"frames[{i}]")
        raw = fields.integer("raw", 1, limits.MAX_FRAME_RAW)
        stored = fields.integer("stored", 1, limits.MAX_FRAME_STORED)
        frames.append(ResidualFrame(raw, stored, fields.hexadecimal("xxh3", 16), offset))
        fields.end()
        offset += stored
    return tuple(frames)


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
