"""Headers and layouts of the result files (spec, "Result files" and "Trees")."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..checkpoint.layout import SafetensorsLayout, canonical_layout, derived_layout, kept_layout
from ..checkpoint.safetensors_file import count_values, parse_header
from ..container.header import content_digest
from ..container.limits import FREE_VALUES
from ..container.reader import Container
from ..container.records import (
    RESULT_PATH,
    Header,
    TensorFile,
    TensorRecord,
)
from ..errors import CheckpointError, ContainerError
from ..tau import decimal


@dataclass(frozen=True)
class ResultFile:
    """A file of the result with tensors, whose names in the whole checkpoint begin with `prefix`.

    `layout`: the file's header and the order of its data; the names in it lack the prefix.
    """

    path: str
    prefix: str
    layout: SafetensorsLayout

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.layout.size

    @property
    def order(self) -> tuple[str, ...]:
        """The names of its tensors' records, in the order of the data."""
        return tuple(self.prefix + name for name in self.layout.order)


def checked_files(container: Container, tau: float) -> tuple[ResultFile, ...]:
    """The files of the result at `tau`: one, or those of a folder.

    Raises `ContainerError` if the source's headers do not describe the container's tensors, or if a
    file at the stored tau does not have the recorded size.
    """
    header, source_headers = container.header, container.source_headers()
    try:
        files = result_files(header, source_headers, header.encoding.tau)
    except ContainerError as error:
        raise ContainerError(f"{container.name}: {error}") from error
    for file, result in zip(files, header.results, strict=True):
        if file.size != result.size:
            raise ContainerError(
                f"{container.name}: the result has {file.size} bytes, where {result.size} are recorded"
            )
    return files if tau == header.encoding.tau else result_files(header, source_headers, tau)


def result_files(
    header: Header, source_headers: Sequence[bytes], tau: float
) -> tuple[ResultFile, ...]:
    """The files of the result at `tau`, without a check against `header.results`."""
    _check_values(header, source_headers)
    # Computed once for all files, because it hashes the whole header.
    metadata = functools.cache(functools.partial(own_metadata, header, tau))
    if header.tree is not None:
        return _files_of_tree(header, source_headers, metadata)
    if not source_headers:
        layout = canonical_layout(header.tensors, {"format": "pt", **metadata()})
        return (ResultFile(RESULT_PATH, "", layout),)
    (source_header,) = source_headers
    records = _records_of(source_header, "", {tensor.name: tensor for tensor in header.tensors})
    if len(records) != len(header.tensors):
        raise ContainerError(_OTHER_TENSORS)
    return (ResultFile(RESULT_PATH, "", _layout(header, source_header, records, metadata)),)


def _check_values(header: Header, source_headers: Sequence[bytes]) -> None:
    """Refuse source headers that would take far more memory than those of the header's tensors."""
    most = FREE_VALUES + sum(8 + len(tensor.shape) for tensor in header.tensors)
    if sum(map(count_values, source_headers)) > most:
        raise ContainerError(f"the source's header holds more than {most} values")


def source_files(header: Header, source_headers: Sequence[bytes]) -> tuple[ResultFile, ...]:
    """The files of the source, with all tensors unchanged.

    If the source is not in safetensors format, they are the canonical file of its tensors.
    """
    if header.tree is None and not source_headers:
        metadata = {"format": "pt", "dsvd.source": header.source.sha256}
        return (ResultFile(RESULT_PATH, "", canonical_layout(header.tensors, metadata)),)
    lossy = result_files(header, source_headers, header.encoding.tau)
    layouts = map(kept_layout, source_headers)
    return tuple(replace(file, layout=layout) for file, layout in zip(lossy, layouts, strict=True))


def own_metadata(header: Header, tau: float) -> dict[str, str]:
    """The metadata on its origin that every result file contains."""
    return {
        "dsvd.base": header.base_digest,
        "dsvd.container": content_digest(header),
        "dsvd.tau": decimal(tau),
    }


_Metadata = Callable[[], dict[str, str]]

_OTHER_TENSORS = "the source's header does not describe the container's tensors"


def _files_of_tree(
    header: Header, source_headers: Sequence[bytes], metadata: _Metadata
) -> tuple[ResultFile, ...]:
    left = {tensor.name: tensor for tensor in header.tensors}
    files = []
    own = [file for file in header.tree or () if isinstance(file, TensorFile)]
    for file, source_header in zip(own, source_headers, strict=True):
        records = _records_of(source_header, file.prefix, left)
        for tensor in records:
            del left[tensor.name]
        layout = _layout(header, source_header, records, metadata)
        files.append(ResultFile(file.path, file.prefix, layout))
    if left:
        raise ContainerError(f"tensor {next(iter(left))!r} is in no file of the tree")
    return tuple(files)


def _records_of(
    source_header: bytes, prefix: str, by_name: dict[str, TensorRecord]
) -> list[TensorRecord]:
    """The records of a source header's tensors. Raises `ContainerError` if one has no record."""
    try:
        _, entries = parse_header(source_header)
    except CheckpointError as error:
        raise ContainerError(f"the source's header is not a safetensors header: {error}") from error
    records = []
    for name, entry in entries.items():
        record = by_name.get(prefix + name)
        if record is None or (record.dtype, record.shape) != (entry.info.dtype, entry.info.shape):
            raise ContainerError(_OTHER_TENSORS)
        records.append(record)
    return records


def _layout(
    header: Header, source_header: bytes, records: Sequence[TensorRecord], metadata: _Metadata
) -> SafetensorsLayout:
    """The layout of a result file: that of the source's file if none of its tensors differs."""
    if not any(map(header.may_differ, records)):
        return kept_layout(source_header)
    return derived_layout(source_header, metadata())
