"""Everything of the result files but their data (spec, "Result files" and "Feature: tree")."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .. import canonical
from ..checkpoint.layout import SafetensorsLayout, canonical_layout, derived_layout, kept_layout
from ..checkpoint.safetensors_file import is_loose, parse_header
from ..container.header import content_digest
from ..container.reader import Container
from ..container.records import (
    RESULT_PATH,
    Header,
    TensorFile,
    TensorRecord,
)
from ..errors import CheckpointError, ContainerError
from ..fs import Bytes

Place = Callable[[int, memoryview], None]
"""What takes bytes to a position in a file, in any thread and any order."""


@dataclass(frozen=True)
class ResultFile:
    """A file of the result that holds tensors: those whose names begin with `prefix`, or some of them.

    `layout`: its bytes but for the data; the names in it are without the prefix.
    """

    path: str
    prefix: str
    layout: SafetensorsLayout

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.layout.size

    @property
    def order(self) -> tuple[str, ...]:
        """The names of its tensors' records, as their data lies in it."""
        return tuple(self.prefix + name for name in self.layout.order)


class Files(Protocol):
    """Files that are made from first byte to last."""

    @property
    def files(self) -> tuple[ResultFile, ...]: ...

    def chunks(self, file: ResultFile, place: Place) -> Generator[Bytes, None, None]: ...


def checked_files(container: Container, tau: float) -> tuple[ResultFile, ...]:
    """The files of the result at `tau`, one or those of a folder.

    Raises `ContainerError` where the source's headers are not of the container's tensors, or a
    file at the stored tau has another size than is recorded.
    """
    header, source_headers = container.header, container.source_headers()
    try:
        files = result_files(header, source_headers, header.encoding.tau)
    except ContainerError as error:
        raise ContainerError(f"{container.path}: {error}") from error
    for file, result in zip(files, header.results, strict=True):
        if file.size != result.size:
            raise ContainerError(
                f"{container.path}: the result has {file.size} bytes, where {result.size} are recorded"
            )
    return files if tau == header.encoding.tau else result_files(header, source_headers, tau)


def result_files(
    header: Header, source_headers: Sequence[bytes], tau: float
) -> tuple[ResultFile, ...]:
    """What `checked_files` gives, whatever stands in `header.results`."""
    _check_loose(header, source_headers)
    # Once for all files: it takes the digest of the whole header.
    metadata = functools.cache(lambda: own_metadata(header, tau))
    if header.tree is not None:
        return _files_of_tree(header, source_headers, metadata)
    if not source_headers:
        layout = canonical_layout(header.tensors, {"format": "pt", **metadata()})
        return (ResultFile(RESULT_PATH, "", layout),)
    (source_header,) = source_headers
    taken = _taken(source_header, "", {tensor.name: tensor for tensor in header.tensors})
    if len(taken) != len(header.tensors):
        raise ContainerError(_STRANGE)
    return (ResultFile(RESULT_PATH, "", _layout(header, source_header, taken, metadata)),)


def _check_loose(header: Header, source_headers: Sequence[bytes]) -> None:
    try:
        found = any(map(is_loose, source_headers))
    except CheckpointError as error:
        raise ContainerError(f"the source's header is not a safetensors header: {error}") from error
    if found != header.loose_header:
        raise ContainerError("whether a source's header is loose is not as `requires` says")


def source_files(header: Header, source_headers: Sequence[bytes]) -> tuple[ResultFile, ...]:
    """The files of the source, whose tensors are all as they were.

    A source of another format than safetensors gets the canonical file of its tensors.
    """
    if header.tree is None and not source_headers:
        metadata = {"format": "pt", "dsvd.source": header.source.sha256}
        return (ResultFile(RESULT_PATH, "", canonical_layout(header.tensors, metadata)),)
    lossy = result_files(header, source_headers, header.encoding.tau)
    layouts = map(kept_layout, source_headers)
    return tuple(replace(file, layout=layout) for file, layout in zip(lossy, layouts, strict=True))


def own_metadata(header: Header, tau: float) -> dict[str, str]:
    """What a result file says of where it came from."""
    return {
        "dsvd.base": header.base_digest,
        "dsvd.container": content_digest(header),
        "dsvd.tau": canonical.encode(tau).decode(),
    }


_Metadata = Callable[[], dict[str, str]]

_STRANGE = "the source's header is not of the container's tensors"


def _files_of_tree(
    header: Header, source_headers: Sequence[bytes], metadata: _Metadata
) -> tuple[ResultFile, ...]:
    left = {tensor.name: tensor for tensor in header.tensors}
    files = []
    own = [file for file in header.tree or () if isinstance(file, TensorFile)]
    for file, source_header in zip(own, source_headers, strict=True):
        taken = _taken(source_header, file.prefix, left)
        for tensor in taken:
            del left[tensor.name]
        layout = _layout(header, source_header, taken, metadata)
        files.append(ResultFile(file.path, file.prefix, layout))
    if left:
        raise ContainerError(f"tensor {next(iter(left))!r} is in no file of the tree")
    return tuple(files)


def _taken(source_header: bytes, prefix: str, there: dict[str, TensorRecord]) -> list[TensorRecord]:
    """The records of a source header's tensors. Raises `ContainerError` if it has others."""
    try:
        _, entries = parse_header(source_header)
    except CheckpointError as error:
        raise ContainerError(f"the source's header is not a safetensors header: {error}") from error
    taken = []
    for name, entry in entries.items():
        record = there.get(prefix + name)
        if record is None or (record.dtype, record.shape) != (entry.info.dtype, entry.info.shape):
            raise ContainerError(_STRANGE)
        taken.append(record)
    return taken


def _layout(
    header: Header, source_header: bytes, taken: Sequence[TensorRecord], metadata: _Metadata
) -> SafetensorsLayout:
    """A file whose tensors are all as they were is the source's again, to the byte."""
    if not any(map(header.may_differ, taken)):
        return kept_layout(source_header)
    return derived_layout(source_header, metadata())
