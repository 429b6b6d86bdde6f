"""Safetensors files, read strictly.

Format: https://huggingface.co/docs/safetensors (u64 length of the header, the header as JSON, the
data). The project has its own reader because it must keep the header's exact bytes, needs the raw
bytes of dtypes that torch lacks, and gives each fault its own message.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import CheckpointError
from .checkpoint import (
    CheckpointFile,
    Copier,
    check_count,
    check_name,
    check_shape,
    naming,
    shown,
)
from .mapping import MappedFile
from .tensor_info import TensorInfo

LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 16 << 20
MAX_VALUES = 1 << 21  # `[`, `{` and `,` in a header: a tensor has eight, and its dimensions
METADATA_KEY = "__metadata__"
BEGINNING = re.compile(rb"[ \t\n\r]*\{")  # the library accepts white space before it
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
ENTRY_KEYS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True)
class Entry:
    """A tensor and the bytes `begin:end` that it takes, counted from the start of the data."""

    info: TensorInfo
    begin: int
    end: int


class SafetensorsFile(CheckpointFile):
    """An open safetensors file. Raises `CheckpointError` for the first rule that it breaks."""

    format = "safetensors"
    header: bytes
    left_out = ()

    def __init__(self, file: MappedFile) -> None:
        super().__init__(file)
        with naming(file.path):
            self.header = _header_bytes(file)
            self._data_start = LENGTH.size + len(self.header)
            _, self._entries = parse_header(self.header, file.size - self._data_start)
        self.tensors = MappingProxyType({name: e.info for name, e in self._entries.items()})

    def read(self, name: str) -> memoryview:
        return self._file.view(*self._range(name))

    def copier(self, name: str) -> Copier:
        start, _ = self._range(name)
        return lambda first, memory: self._file.copy(start + first, memory)

    def release(self, name: str) -> None:
        self._file.release(*self._range(name))

    def _range(self, name: str) -> tuple[int, int]:
        entry = self._entries[name]
        return self._data_start + entry.begin, self._data_start + entry.end


def parse_header(
    header: bytes, data_size: int | None = None
) -> tuple[dict[str, str] | None, dict[str, Entry]]:
    """Parse a header: its metadata (None for none, or null), and its tensors in its order.

    `data_size`: the number of bytes that follow the header; without it only the header itself is
    checked. Raises `CheckpointError` for the first rule that it breaks.
    """
    if len(header) > MAX_HEADER_BYTES:
        raise CheckpointError(f"its header has {len(header)} bytes, more than {MAX_HEADER_BYTES}")
    if (values := count_values(header)) > MAX_VALUES:
        raise CheckpointError(f"its header holds {values} values, more than {MAX_VALUES}")
    if BEGINNING.match(header) is None:
        raise CheckpointError("its header does not begin with '{'")
    document = _load_json(header)
    metadata = _metadata(document.pop(METADATA_KEY)) if METADATA_KEY in document else None
    check_count(len(document))
    entries = dict(zip(document, map(_entry, document, document.values()), strict=True))
    _check_cover(entries.values(), data_size)
    return metadata, entries


def count_values(header: bytes) -> int:
    """The number of characters `[`, `{` and `,` outside of strings, without parsing the JSON.

    Parsed values take many times the memory of their text; this bounds how many there are.
    """
    outside = _STRING.sub(b"", header)
    return outside.count(b"[") + outside.count(b"{") + outside.count(b",")


def _header_bytes(file: MappedFile) -> bytes:
    if file.size < LENGTH.size:
        raise CheckpointError(f"it has {file.size} bytes, too few for a safetensors file")
    (length,) = LENGTH.unpack(file.view(0, LENGTH.size))
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"its header has {length} bytes, more than {MAX_HEADER_BYTES}")
    if length > file.size - LENGTH.size:
        raise CheckpointError(f"it is truncated: it ends inside its header of {length} bytes")
    return bytes(file.view(LENGTH.size, LENGTH.size + length))


def _load_json(header: bytes) -> dict[str, object]:
    try:
        document = json.loads(
            header.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_natural,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
    except UnicodeDecodeError as error:
        raise CheckpointError("its header is not UTF-8") from error
    except ValueError as error:
        raise CheckpointError(f"its header is not JSON: {error}") from error
    except RecursionError as error:
        raise CheckpointError("its header nests too deeply") from error
    assert isinstance(document, dict)  # it began with "{"
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise CheckpointError(f"its header has the key {shown(key)} twice")
            seen.add(key)
    return result


def _natural(digits: str) -> int:
    # 19 digits hold every file offset, and int() refuses or crawls on thousands of them.
    if digits.startswith("-") or len(digits) > 19:
        raise CheckpointError(f"its header has the number {digits[:40]}, out of range")
    return int(digits)


def _no_float(text: str) -> object:
    raise CheckpointError(f"its header has the number {text[:40]}, which is not an integer")


def _metadata(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise CheckpointError(f"{METADATA_KEY} is not an object")
    for key, text in value.items():
        if not isinstance(text, str):
            raise CheckpointError(f"{METADATA_KEY} has a value that is not a string: {shown(key)}")
        try:
            # A copy of a long text would take its size in memory.
            _ = key.isascii() or key.encode()
            _ = text.isascii() or text.encode()
        except UnicodeEncodeError as error:
            raise CheckpointError(f"{METADATA_KEY} is not valid Unicode: {shown(key)}") from error
    return value


def _entry(name: str, value: object) -> Entry:
    check_name(name)
    if not isinstance(value, dict) or value.keys() != ENTRY_KEYS:
        raise CheckpointError(
            f"tensor {shown(name)} is not an object of dtype, shape and data_offsets"
        )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str):
        raise CheckpointError(f"tensor {shown(name)} has a dtype that is not a string")
    if not isinstance(shape, list):
        raise CheckpointError(f"tensor {shown(name)} has a shape that is not a list")
    info = TensorInfo(name, dtype, check_shape(name, tuple(shape)))
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or any(type(offset) is not int for offset in offsets)
    ):
        raise CheckpointError(f"tensor {shown(name)} has data_offsets that are not two integers")
    begin, end = offsets
    if begin > end:
        raise CheckpointError(f"tensor {shown(name)} ends before it begins: {begin}, {end}")
    try:
        nbytes = info.nbytes
    except CheckpointError as error:
        raise CheckpointError(f"tensor {shown(name)}: {error}") from error
    if end - begin != nbytes:
        raise CheckpointError(
            f"tensor {shown(name)} has {end - begin} bytes, but its dtype and shape make {nbytes}"
        )
    return Entry(info, begin, end)


def data_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sort entries by the position of their data. Empty tensors at one position keep their order."""
    return sorted(entries, key=lambda entry: (entry.begin, entry.end))


def _check_cover(entries: Iterable[Entry], data_size: int | None) -> None:
    position = 0
    for entry in data_order(entries):
        if entry.begin != position:
            fault = "overlaps another" if entry.begin < position else "has a hole before it"
            raise CheckpointError(f"tensor {shown(entry.info.name)} {fault}")
        position = entry.end
    if data_size is not None and position > data_size:
        raise CheckpointError(f"it is truncated: {data_size} of {position} bytes of data are there")
    if data_size is not None and position < data_size:
        raise CheckpointError(f"{data_size - position} bytes follow its last tensor")
