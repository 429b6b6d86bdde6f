"""The header of a safetensors file that is to be written.

A container's digests cover these bytes, so that each rule is in spec/dsvd-container-v1.md too: JSON
without white space and without needless escapes, `__metadata__` first and only if it is not empty,
and spaces at the end so that the data begins at a multiple of 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import CheckpointError
from .checkpoint import check_count, check_name, check_shape, shown
from .safetensors_file import (
    LENGTH,
    METADATA_KEY,
    Entry,
    data_order,
    parse_header,
)
from .tensor_info import BITS, TensorInfo

ALIGNMENT = 8
DROPPED_METADATA = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")
"""Keys of the source's metadata that hash its weights, and would be wrong for the result's."""
OWN_PREFIX = "dsvd."


@dataclass(frozen=True)
class SafetensorsLayout:
    """The layout of a safetensors file, all sizes in bytes.

    `prefix`: u64 length, JSON and padding. `order`: the names of the tensors, in the order of their
    data, which follows without gaps. `sizes`: the size of each. `size`: that of the whole file.
    """

    prefix: bytes
    order: tuple[str, ...]
    sizes: tuple[int, ...]
    size: int


def canonical_layout(
    tensors: Iterable[TensorInfo], metadata: Mapping[str, str]
) -> SafetensorsLayout:
    """The layout that follows from the tensors alone, whatever their order.

    Tensors are sorted by bits per element, the most first, so that each is aligned for its dtype,
    then by the UTF-8 bytes of their names. Metadata is sorted by the UTF-8 bytes of its keys.

    Raises:
        CheckpointError: for two tensors of one name, and for names and shapes over the limits.
    """
    infos = list(tensors)
    check_count(len(infos))
    sizes: dict[str, int] = {}
    for info in infos:
        check_name(info.name)
        check_shape(info.name, info.shape)
        if info.name in sizes:
            raise CheckpointError(f"there are two tensors of the name {shown(info.name)}")
        sizes[info.name] = info.nbytes
    entries, position = [], 0
    for info in sorted(infos, key=lambda info: (-BITS[info.dtype], info.name.encode())):
        entries.append(Entry(info, position, position + sizes[info.name]))
        position += sizes[info.name]
    return _layout(_sorted(metadata), entries)


def derived_layout(source_header: bytes, metadata: Mapping[str, str]) -> SafetensorsLayout:
    """The layout of a result that keeps the source's entries and their order.

    Three kinds of the source's metadata keys are dropped: `DROPPED_METADATA`, those that begin with
    `dsvd.`, and those in `metadata`. The others keep their order, and `metadata` follows, sorted by
    the UTF-8 bytes of its keys. Raises `CheckpointError` for an invalid header.
    """
    source_metadata, entries = parse_header(source_header)
    kept = {
        key: value
        for key, value in (source_metadata or {}).items()
        if key not in DROPPED_METADATA and not key.startswith(OWN_PREFIX) and key not in metadata
    }
    return _layout(kept | _sorted(metadata), list(entries.values()))


def kept_layout(source_header: bytes) -> SafetensorsLayout:
    """The layout of the source file itself, with exactly its header.

    Raises `CheckpointError` for an invalid header.
    """
    _, entries = parse_header(source_header)
    return _placed(LENGTH.pack(len(source_header)) + source_header, list(entries.values()))


def _sorted(metadata: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(metadata.items(), key=lambda item: item[0].encode()))


def _layout(metadata: dict[str, str], entries: list[Entry]) -> SafetensorsLayout:
    document: dict[str, object] = {METADATA_KEY: metadata} if metadata else {}
    for entry in entries:
        document[entry.info.name] = {
            "dtype": entry.info.dtype,
            "shape": entry.info.shape,
            "data_offsets": [entry.begin, entry.end],
        }
    header = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-(LENGTH.size + len(header)) % ALIGNMENT)
    return _placed(LENGTH.pack(len(header)) + header, entries)


def _placed(prefix: bytes, entries: list[Entry]) -> SafetensorsLayout:
    ordered = data_order(entries)
    order = tuple(entry.info.name for entry in ordered)
    sizes = tuple(entry.end - entry.begin for entry in ordered)
    return SafetensorsLayout(prefix, order, sizes, len(prefix) + sum(sizes))
