"""Checks of the rules across fields of a header, without its payload (spec, "Records", "Frames").

Those of a tree come last (spec, section "Trees").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sized
from typing import assert_never

from ..checkpoint.folder_listing import check_paths
from ..checkpoint.tensor_info import BITS, DELTA_DTYPES, TensorInfo, tensor_bytes
from ..errors import CheckpointError, ContainerError, HeaderTooLarge
from . import limits
from .quantisation import check_quantisation
from .records import (
    FRAME_ORDER,
    RESULT_PATH,
    BasedRecord,
    CastRecord,
    DeltaRecord,
    DenseRecord,
    Frame,
    FrameContent,
    Header,
    KeptFile,
    LowRankRecord,
    Part,
    QuantisedRecord,
    RawRecord,
    SameRecord,
    TensorFile,
    TensorRecord,
    TreeFile,
)
from .rows import Rows
from .table import TABLE_ENTRY_SIZE, ComponentTable


def check_structure(header: Header) -> None:
    """Check all rules across fields. Raises `ContainerError` for the first that `header` breaks."""
    names = [tensor.name.encode() for tensor in header.tensors]
    if any(left >= right for left, right in itertools.pairwise(names)):
        raise ContainerError("the tensors are not sorted by name, or a name stands twice")
    for tensor in header.tensors:
        _check_tensor(tensor, header)
    _check_frames(header)
    _check_result(header)


def check_size(header: Header, size: int) -> None:
    """Check what the header lists against the size of the file. Raises `HeaderTooLarge`.

    The header and all component tables are read on opening, and equal entries compress to almost
    nothing: without these limits a small file could fill the memory.
    """
    for what, count, free, bytes_of_one in (
        ("components", _components(header), limits.FREE_COMPONENTS, limits.BYTES_OF_A_COMPONENT),
        ("entries", _entries(header), limits.FREE_ENTRIES, limits.BYTES_OF_AN_ENTRY),
        ("dimensions", sum(map(len, _shapes(header))), limits.FREE_DIMENSIONS, 1),
    ):
        if count > free + size // bytes_of_one:
            raise HeaderTooLarge(f"{count} {what} are too many for a file of {size} bytes")


def _entries(header: Header) -> int:
    """The number of all entries in the lists of a header (spec, "Limits")."""
    merge = header.merge
    lists: list[Sized] = [header.left_out, header.tree or (), header.tensors, header.frames]
    lists += [] if merge is None else [merge.versions, merge.layers]
    lists += (tensor.base for tensor in header.tensors if isinstance(tensor, BasedRecord))
    lists += (frame.parts for frame in header.frames)
    return sum(map(len, lists))


def _shapes(header: Header) -> Iterator[tuple[int, ...]]:
    for tensor in header.tensors:
        yield tensor.shape
        if isinstance(tensor, BasedRecord):
            yield from (base.shape for base in tensor.base)


def _components(header: Header) -> int:
    return sum(tensor.rank for tensor in header.tensors if isinstance(tensor, LowRankRecord))


def raw_bytes(tensor: TensorRecord) -> int:
    """The number of a tensor's bytes that are stored unchanged: all, those of new rows, or none."""
    match tensor:
        case RawRecord():
            return _bytes(tensor.name, tensor.dtype, tensor.shape)
        case SameRecord() | LowRankRecord() | DenseRecord():
            new = (tensor.new_rows, *tensor.shape[1:])
            return _bytes(tensor.name, tensor.dtype, new) if tensor.new_rows else 0
        case CastRecord() | QuantisedRecord():
            return 0
        case _:
            assert_never(tensor)


def units(tensor: TensorRecord, content: FrameContent) -> int:
    """The number of a tensor's units (components, elements, bytes) in the frames of `content`."""
    if content == "bytes":
        return raw_bytes(tensor)
    match tensor:
        case LowRankRecord():
            return tensor.rank if content in ("tables", "components") else 0
        case DenseRecord():
            return math.prod(tensor.common_shape) if content == "elements" else 0
        case SameRecord() | RawRecord() | CastRecord() | QuantisedRecord():
            return 0
        case _:
            assert_never(tensor)


def _check_tensor(tensor: TensorRecord, header: Header) -> None:
    where = f"tensor {tensor.name!r}"
    _check_name(tensor.name)
    _bytes(tensor.name, tensor.dtype, tensor.shape)
    match tensor:
        case RawRecord():
            return
        case SameRecord() | LowRankRecord() | DenseRecord():
            _check_based(tensor, where)
        case CastRecord():
            _check_cast(tensor, header, where)
        case QuantisedRecord():
            _check_quantised(tensor, header, where)
        case _:
            assert_never(tensor)


def _check_based(tensor: SameRecord | LowRankRecord | DenseRecord, where: str) -> None:
    if tensor.new_rows and (not tensor.shape or tensor.new_rows >= tensor.shape[0]):
        raise ContainerError(f"{where}: more new rows than rows")
    _check_view(tensor, where)
    dtypes = {tensor.dtype, *(base.dtype for base in tensor.base)}
    is_delta = isinstance(tensor, DeltaRecord)
    if (is_delta or len(dtypes) > 1) and not dtypes <= set(DELTA_DTYPES):
        raise ContainerError(f"{where}: its dtypes take no delta")
    match tensor:
        case LowRankRecord():
            most = tensor.full_rank
            if len(tensor.shape) < 2 or max(tensor.rank, tensor.tau_rank, tensor.noise_rank) > most:
                raise ContainerError(f"{where}: a rank is over that of the shape")
        case DenseRecord():
            if not tensor.elements:
                raise ContainerError(f"{where}: a dense delta without elements")
            if tensor.exponent + tensor.maximum.bit_length() > limits.MAX_EXPONENT:
                raise ContainerError(f"{where}: its exponent is outside the limits")
        case SameRecord():
            pass
        case _:
            assert_never(tensor)


def _check_quantised(tensor: QuantisedRecord, header: Header, where: str) -> None:
    if tensor.new_rows:
        raise ContainerError(f"{where}: quantised weights have no new rows")
    if not {base.dtype for base in tensor.base} <= set(DELTA_DTYPES):
        raise ContainerError(f"{where}: the dtypes of its base are not quantised")

    def raw(place: int) -> TensorInfo | None:
        found = header.tensors[place] if place < len(header.tensors) else None
        return found if isinstance(found, RawRecord) else None

    check_quantisation(tensor.quantisation, tensor, raw, where)
    _check_view(tensor, where)


def _check_cast(tensor: CastRecord, header: Header, where: str) -> None:
    """Raises `ContainerError` unless the other record is there, and one that can be rounded."""
    if tensor.of >= len(header.tensors):
        raise ContainerError(f"{where} is a cast of tensor {tensor.of}, which there is not")
    other = header.tensors[tensor.of]
    if isinstance(other, CastRecord):
        raise ContainerError(f"{where} is a cast of {other.name!r}, which is one itself")
    if other.shape != tensor.shape:
        raise ContainerError(f"{where} is a cast of {other.name!r}, which has another shape")
    if not {tensor.dtype, other.dtype} <= set(DELTA_DTYPES):
        raise ContainerError(f"{where}: nothing is cast from {other.dtype} to {tensor.dtype}")


def _check_name(name: str) -> None:
    if name == "__metadata__" or "\0" in name:
        raise ContainerError(f"a tensor cannot be called {name!r} in a safetensors file")


def _check_view(tensor: BasedRecord, where: str) -> None:
    view, base = tensor.view, tensor.base
    for part in base:
        _check_name(part.name)
        _bytes(part.name, part.dtype, part.shape)
        if view.kind != "reshape" and BITS[part.dtype] % 8:
            raise ContainerError(f"{where}: the view {view.kind!r} of {part.dtype} splits bytes")
    shape = base[0].shape
    if (len(base) > 1) != (view.kind == "concatenate"):
        raise ContainerError(f"{where}: {len(base)} base tensors for the view {view.kind!r}")
    match view.kind:
        case "transpose":
            fits = len(shape) == 2
        case "slice":
            fits = len(shape) > 0 and view.first + view.rows <= shape[0]
            shape = (view.rows, *shape[1:])
        case "roll":
            fits = len(shape) > 0 and 0 < view.first < shape[0]
        case "concatenate":
            fits = len(shape) > 0 and all(
                (part.dtype, part.shape[1:], len(part.shape))
                == (base[0].dtype, shape[1:], len(shape))
                for part in base
            )
            shape = (sum(part.shape[0] for part in base), *shape[1:]) if fits else shape
        case "reshape":
            fits = True
        case _:
            assert_never(view.kind)
    if not fits or math.prod(shape) != math.prod(tensor.common_shape):
        raise ContainerError(f"{where}: the view {view.kind!r} does not fit its base tensors")


def _check_frames(header: Header) -> None:
    order = [FRAME_ORDER.index(frame.content) for frame in header.frames]
    if order != sorted(order):
        raise ContainerError("the frames are not in the order of their contents")
    headers = order.count(FRAME_ORDER.index("source_header"))
    if header.tree is None and headers > 1:
        raise ContainerError("more than one frame holds the source's header")
    for i, frame in enumerate(header.frames):
        loose = frame.raw > limits.FREE_FRAME_RAW
        if loose and frame.raw > limits.MAX_RAW_OF_STORED * frame.stored:
            raise ContainerError(
                f"frames[{i}] would become {frame.raw} bytes of {frame.stored}, over the limit"
            )
    source_headers = (frame.raw for frame in header.frames if frame.content == "source_header")
    if sum(source_headers) > limits.MAX_SOURCE_HEADER:
        raise ContainerError("the source's header is over its limit")
    if sum(len(frame.parts) for frame in header.frames) > limits.MAX_PARTS:
        raise ContainerError(f"more than {limits.MAX_PARTS} parts")
    if (count := _components(header)) > limits.MAX_COMPONENTS:
        raise ContainerError(f"{count} components are more than {limits.MAX_COMPONENTS}")
    counts: dict[tuple[FrameContent, int], int] = {}
    for i, frame in enumerate(header.frames):
        if (frame.content == "source_header") == bool(frame.parts):
            raise ContainerError(f"frames[{i}] has no parts, or parts that it must not have")
        of_files = frame.content == "files"
        there = len(header.tree or ()) if of_files else len(header.tensors)
        for part in frame.parts:
            if part.tensor >= there:
                what = "file" if of_files else "tensor"
                raise ContainerError(f"frames[{i}] names {what} {part.tensor}, which there is not")
            key = frame.content, part.tensor
            counts[key] = counts.get(key, 0) + part.count
        expected = frame_size(header, frame)
        if expected is not None and expected != frame.raw:
            raise ContainerError(f"frames[{i}] declares {frame.raw} bytes for {expected}")
    for content, index, expected in _expected_units(header):
        if counts.pop((content, index), 0) != expected:
            name = header.tensors[index].name
            raise ContainerError(f"tensor {name!r}: the frames hold not all of its {content}")
    for index, file in stored_files(header.tree or ()):
        if counts.pop(("files", index), 0) != file.size:
            raise ContainerError(f"file {file.path!r}: the frames hold not all of it")
    for content, _ in counts:
        if content == "files":
            raise ContainerError("a frame holds bytes of a file that is not stored, or is empty")
        raise ContainerError("a frame holds numbers of a tensor that has none of that kind")


def frame_size(header: Header, frame: Frame) -> int | None:
    """The decompressed size of a frame with these parts; None if the header does not determine it."""
    match frame.content:
        case "tables":
            return sum(TABLE_ENTRY_SIZE * part.count for part in frame.parts)
        case "bytes" | "files":
            return sum(part.count for part in frame.parts)
        case "elements":
            tensors = [header.tensors[part.tensor] for part in frame.parts]
            return sum(
                rows.nbytes
                for part, tensor in zip(frame.parts, tensors, strict=True)
                if isinstance(tensor, DenseRecord)
                for rows in element_rows(tensor, part)
            )
        case "components" | "source_header":
            return None
        case _:
            assert_never(frame.content)


def _expected_units(header: Header) -> Iterator[tuple[FrameContent, int, int]]:
    for index, tensor in enumerate(header.tensors):
        for content in FRAME_ORDER:
            if expected := units(tensor, content):
                yield content, index, expected


def _check_result(header: Header) -> None:
    if header.tree is not None:
        check_tree(header)
        return
    result, source = header.results[0], header.source
    if result.path != RESULT_PATH:
        raise ContainerError(f"the result's path is {result.path!r}, not {RESULT_PATH!r}")
    if header.keeps_source and (result.sha256, result.size) != (source.sha256, source.size):
        raise ContainerError("nothing was changed, and yet the result is not the source")


def _bytes(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    try:
        return tensor_bytes(dtype, shape)
    except CheckpointError as error:
        raise ContainerError(f"tensor {name!r}: {error}") from error


def component_rows(record: LowRankRecord, table: ComponentTable) -> list[Rows]:
    """The two groups of rows, of a and of b, for the components of `table`."""
    sides = zip(record.matrix_shape, (table.max_a, table.max_b), strict=True)
    return [Rows(length, maxima) for length, maxima in sides]


def element_rows(record: DenseRecord, part: Part) -> list[Rows]:
    """A single row with all elements of the part."""
    return [Rows.one(part.count, record.maximum)]


def check_tree(header: Header) -> None:
    """Check the rules of the feature. Raises `ContainerError` for the first that `header` breaks."""
    tree = header.tree or ()
    try:
        check_paths([file.path for file in tree])
    except CheckpointError as error:
        raise ContainerError(f"tree: {error}") from error
    paths = [file.path for file in tree if isinstance(file, TensorFile)]
    if paths != [result.path for result in header.results]:
        raise ContainerError("the results are not the files of the tree that hold tensors")
    headers = sum(frame.content == "source_header" for frame in header.frames)
    if headers != len(paths):
        raise ContainerError(f"{headers} headers for {len(paths)} files that hold tensors")


def stored_files(tree: Iterable[TreeFile]) -> Iterator[tuple[int, KeptFile]]:
    """The non-empty files whose bytes are in the payload, each with its index in the tree."""
    for index, file in enumerate(tree):
        if isinstance(file, KeptFile) and not file.of_base and file.size:
            yield index, file
