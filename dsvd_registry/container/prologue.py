"""The start of a container or residual: magic, version and compressed JSON header.

Both kinds of file differ only in the magic (spec, section "Prologue").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from ..canonical import weight
from ..errors import ContainerError, UnsupportedFeature
from . import limits
from .compression import TEXT, compress, decompress
from .frames import ContainerFile


@dataclass(frozen=True)
class Kind:
    """A kind of file: the 8 bytes of `magic` that it begins with, and its name in messages."""

    magic: bytes
    name: str


CONTAINER = Kind(limits.MAGIC, "a .dsvd container")
RESIDUAL = Kind(b"\x89DSVR\r\n\x1a", "a .dsvdr residual")


def packed_header(kind: Kind, text: bytes) -> bytes:
    """The bytes of the prologue and the header, whose canonical JSON is `text`.

    Raises `ContainerError` for a header over the limit of readers.
    """
    if len(text) > limits.MAX_HEADER_JSON:
        raise ContainerError(
            f"the header would have {len(text)} bytes of JSON; {limits.MAX_HEADER_JSON} is the limit"
        )
    stored = compress(text, TEXT)
    start = kind.magic + struct.pack("<HHIII", limits.VERSION, 0, len(stored), len(text), 0)
    checksum = xxhash.xxh3_64(start)
    checksum.update(stored)
    return start + struct.pack("<Q", checksum.intdigest()) + stored


def read_header(file: ContainerFile, kind: Kind) -> tuple[bytes, int]:
    """Read the JSON of a file's header, and the offset of its first frame.

    Raises `ContainerError`, `UnsupportedFeature` for another version, `StorageError`.
    """
    prologue = file.read(0, limits.PROLOGUE_SIZE)
    if not prologue.startswith(kind.magic):
        raise ContainerError(f"{file.path} is not {kind.name}")
    if len(prologue) < limits.PROLOGUE_SIZE:
        raise ContainerError(f"{file.path} ends inside its prologue")
    version, zero, stored_size, json_size, zero_too, checksum = struct.unpack_from(
        "<HHIIIQ", prologue, len(kind.magic)
    )
    if version != limits.VERSION:
        raise UnsupportedFeature(f"{file.path} is of format version {version}")
    if zero or zero_too:
        raise ContainerError(f"{file.path}: a reserved field of the prologue is not zero")
    if json_size > limits.MAX_HEADER_JSON or stored_size > limits.MAX_HEADER_STORED:
        raise ContainerError(f"{file.path}: the header is over its limit")
    if limits.PROLOGUE_SIZE + stored_size > file.size:
        raise ContainerError(f"{file.path} ends inside its header")
    stored = file.read(limits.PROLOGUE_SIZE, stored_size)
    expected = xxhash.xxh3_64(prologue[: limits.CHECKED_PROLOGUE_SIZE])
    expected.update(stored)
    if expected.intdigest() != checksum:
        raise ContainerError(f"{file.path}: the header does not match its checksum")
    try:
        text = decompress(stored, json_size, "the header")
        if weight(text) > limits.MAX_WEIGHT:
            raise ContainerError(f"the header holds too much: it weighs {weight(text)}")
    except ContainerError as error:
        raise ContainerError(f"{file.path}: {error}") from error
    return text, limits.PROLOGUE_SIZE + stored_size
