"""Zstd frames, compressed and strictly decompressed, and the files of frames (spec, "Compression").

Containers and residuals are such files: a prologue with the header, then frames. As they are read,
digests are compared, contents decompressed and cached. They differ in the magic of the prologue
(spec, section "Prologue").
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import zstandard

from ..errors import ContainerError, HeaderTooLarge, UnsupportedFeature
from ..fs import Bytes
from ..hashing import sha256
from ..ranged_file import Range, RangedFile
from . import limits
from .limits import MAX_WINDOW
from .records import Frame, Header

# Integers of the grid hardly repeat. Their frequencies compress well; only long matches, such as runs
# of zeros, are worth finding.
NUMBERS = zstandard.ZstdCompressionParameters.from_level(
    1, strategy=zstandard.STRATEGY_FAST, hash_log=6, min_match=7, write_content_size=1
)
BYTES = zstandard.ZstdCompressionParameters.from_level(1, write_content_size=1)
# The last levels would make headers a fortieth smaller, in three times as long: of a model of small
# tensors that was a third of the time of an addition.
TEXT = zstandard.ZstdCompressionParameters.from_level(17, write_content_size=1)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def compress(data: Bytes, parameters: zstandard.ZstdCompressionParameters) -> bytes:
    """Compress `data` to a single zstd frame with its content size, without dictionary or checksum."""
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def compress_blocks(
    blocks: Sequence[bytes], parameters: zstandard.ZstdCompressionParameters
) -> bytes:
    """Compress `blocks` to a single zstd frame in which each of them begins a new zstd block."""
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    frame = compressor.compressobj(size=sum(map(len, blocks)))
    written = []
    for block in blocks:
        written += [frame.compress(block), frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*written, frame.flush()])


def decompress(data: Bytes, size: int, where: str) -> bytes:
    """Decompress exactly one frame of exactly `size` bytes. Raises `ContainerError`, naming `where`.

    The size that the frame declares is compared before anything is decompressed. The memory taken
    is therefore `size`, which the caller has bounded.
    """
    if bytes(data[:4]) != ZSTD_MAGIC:
        raise ContainerError(f"{where} is not a zstd frame")
    try:
        parameters = zstandard.get_frame_parameters(data)
        if parameters.content_size != size:
            raise ContainerError(f"{where} does not hold the {size} bytes that it should")
        if parameters.window_size > MAX_WINDOW:
            raise ContainerError(f"{where} asks for a zstd window of over {MAX_WINDOW} bytes")
        if parameters.dict_id:
            raise ContainerError(f"{where} needs a zstd dictionary")
        decompressor = zstandard.ZstdDecompressor()
        content = decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ContainerError(f"{where}: {error}") from error
    if len(content) != size:
        raise ContainerError(f"{where} does not hold the {size} bytes that it should")
    return content


CACHED_BYTES = 64 << 20  # of decompressed frames, kept while tensors are read in order
CACHED_OF_A_BYTE = 16  # the limit for small files: bytes kept for each byte of the file


def read_frame(file: RangedFile, offset: int, size: int, digest: str) -> bytes | None:
    """The stored bytes of a frame; None if they are too few or have another SHA-256."""
    stored = file.read(offset, size)
    return stored if len(stored) == size and sha256(stored) == digest else None


class Frames:
    """The frames of a container by number. Several threads may read at once.

    Raises `ContainerError` for a damaged frame, naming the tensors in it.
    """

    def __init__(self, file: RangedFile, header: Header, cached_bytes: int) -> None:
        self._file, self._header = file, header
        self._lock = threading.Lock()
        self._cached: OrderedDict[int, bytes] = OrderedDict()
        self._room = min(cached_bytes, CACHED_OF_A_BYTE * file.size)

    def content(self, index: int) -> bytes:
        """The decompressed content of a frame; the most recent ones are cached."""
        with self._lock:
            return self._content(index)

    def expect(self, indices: Iterable[int]) -> None:
        """Tell which frames will be read soon; see `RangedFile.expect`."""
        frames = [self._header.frames[index] for index in sorted(set(indices))]
        self._file.expect(Range(one.offset, one.offset + one.stored) for one in frames)

    def check(self) -> str:
        """Read the whole file once, and return its SHA-256; nothing is decompressed.

        Raises `ContainerError` for a frame that does not have its SHA-256.
        """
        frames = self._header.frames
        self.expect(range(len(frames)))
        whole = hashlib.sha256(self._file.read(0, frames[0].offset if frames else self._file.size))
        for index in range(len(frames)):
            whole.update(self._stored(index))
        return whole.hexdigest()

    def _content(self, index: int) -> bytes:
        if index in self._cached:
            self._cached.move_to_end(index)
            return self._cached[index]
        where = f"{self._file.name}: frames[{index}]"
        raw, stored = self._header.frames[index].raw, self._stored(index)
        while self._cached and raw + sum(map(len, self._cached.values())) > self._room:
            self._cached.popitem(last=False)
        content = self._cached[index] = decompress(stored, raw, where)
        return content

    def _stored(self, index: int) -> bytes:
        frame = self._header.frames[index]
        stored = read_frame(self._file, frame.offset, frame.stored, frame.sha256)
        if stored is None:
            raise ContainerError(
                f"{self._file.name}: frames[{index}], with {self._contents(frame)}, "
                "does not have its SHA-256"
            )
        return stored

    def _contents(self, frame: Frame) -> str:
        """The contents of a frame, in words for a message."""
        if not frame.parts:
            return "the header of the source"
        if frame.content == "files":
            what, names = "files", [file.path for file in self._header.tree or ()]
        else:
            what, names = "tensors", [tensor.name for tensor in self._header.tensors]
        names = list(dict.fromkeys(names[part.tensor] for part in frame.parts))
        others = f" and {len(names) - 3} other {what}" if len(names) > 3 else ""
        return f"{frame.content} of " + ", ".join(map(repr, names[:3])) + others


@dataclass(frozen=True)
class Kind:
    """A kind of file: the 8 bytes of `magic` that it begins with, and its name in messages."""

    magic: bytes
    name: str


CONTAINER = Kind(limits.MAGIC, "a .dsvd container")
RESIDUAL = Kind(b"\x89DSVR\r\n\x1a", "a .dsvdr residual")


def stored_header(kind: Kind, header: bytes) -> bytes:
    """The bytes of the prologue and of `header`, compressed.

    Raises `HeaderTooLarge` for a header over the limit of readers.
    """
    stored = compress(header, TEXT)
    if len(header) > limits.MAX_HEADER or _is_loose(len(header), len(stored)):
        raise HeaderTooLarge(f"the header would have {len(header)} bytes, over the limit")
    start = kind.magic + struct.pack("<IIII", limits.VERSION, len(stored), len(header), 0)
    return start + hashlib.sha256(start + stored).digest() + stored


def read_header(file: RangedFile, kind: Kind) -> tuple[bytes, int]:
    """Read the bytes of a file's header, and the offset of its first frame.

    Raises `ContainerError`, `UnsupportedFeature` for another version, `StorageError`.
    """
    prologue = file.read(0, limits.PROLOGUE_SIZE)
    if not prologue.startswith(kind.magic):
        raise ContainerError(f"{file.name} is not {kind.name}")
    if len(prologue) < limits.PROLOGUE_SIZE:
        raise ContainerError(f"{file.name} ends inside its prologue")
    version, stored_size, size, zero = struct.unpack_from("<IIII", prologue, len(kind.magic))
    if version != limits.VERSION:
        raise UnsupportedFeature(f"{file.name} is of format version {version}")
    if zero:
        raise ContainerError(f"{file.name}: a reserved field of the prologue is not zero")
    if size > limits.MAX_HEADER or stored_size > limits.MAX_HEADER_STORED:
        raise ContainerError(f"{file.name}: the header is over its limit")
    if _is_loose(size, stored_size):
        raise ContainerError(f"{file.name}: a header of {size} bytes from {stored_size}")
    if limits.PROLOGUE_SIZE + stored_size > file.size:
        raise ContainerError(f"{file.name} ends inside its header")
    stored = file.read(limits.PROLOGUE_SIZE, stored_size)
    expected = hashlib.sha256(prologue[: limits.CHECKED_PROLOGUE_SIZE] + stored)
    if expected.digest() != prologue[limits.CHECKED_PROLOGUE_SIZE :]:
        raise ContainerError(f"{file.name}: the header does not have its SHA-256")
    try:
        return decompress(stored, size, "the header"), limits.PROLOGUE_SIZE + stored_size
    except ContainerError as error:
        raise ContainerError(f"{file.name}: {error}") from error


def _is_loose(size: int, stored: int) -> bool:
    """True if a header would become more bytes than its stored ones may claim."""
    return size > limits.FREE_HEADER and size > limits.MAX_HEADER_OF_STORED * stored
