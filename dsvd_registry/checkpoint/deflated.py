"""Compressed entries of a zip archive, which torch reads and other programs write.

The size that an entry claims is bounded by the file's size before anything is inflated
(`check_growth`), and inflating stops at the claimed size.
"""

from __future__ import annotations

import threading
import weakref
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError
from ..hashing import READ_CHUNK
from .mapping import MappedFile

Bytes = npt.NDArray[np.uint8]

# Weights hardly compress: a file that grows by more than this is no checkpoint.
FREE_BYTES = 8 << 20
MAX_BYTES_OF_A_BYTE = 16  # of the file, where all entries together take over FREE_BYTES


@dataclass(frozen=True)
class Deflated:
    """The compressed bytes `start:end` of a file, which inflate to `size` bytes of CRC-32 `crc`."""

    start: int
    end: int
    size: int
    crc: int

    def inflate(self, file: MappedFile) -> Bytes:
        """Inflate all bytes. Raises `CheckpointError` if their number or CRC-32 is not as claimed."""
        memory = np.empty(self.size, np.uint8)
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        filled = crc = 0
        try:
            for start in range(self.start, self.end, READ_CHUNK):
                waiting: bytes = file.view(start, min(start + READ_CHUNK, self.end)).tobytes()
                while waiting and not inflating.eof:
                    # One byte over the claimed size shows that the entry is too long.
                    room = min(READ_CHUNK, self.size - filled + 1)
                    piece = inflating.decompress(waiting, room)
                    waiting = inflating.unconsumed_tail
                    if filled + len(piece) > self.size:
                        raise CheckpointError(f"it inflates to more than its {self.size} bytes")
                    memory[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
                    crc = zlib.crc32(piece, crc)
                    filled += len(piece)
        except zlib.error as error:
            raise CheckpointError(f"its compressed bytes are damaged: {error}") from error
        if not inflating.eof or inflating.unused_data or filled != self.size:
            raise CheckpointError(f"its compressed bytes do not inflate to {self.size}")
        if self.crc and crc != self.crc:
            raise CheckpointError(
                f"its bytes are damaged: their CRC-32 is {crc:08x}, not {self.crc:08x}"
            )
        return memory


class Inflated:
    """The inflated entries of one file, each inflated when it is asked for.

    If several threads need one entry, the first inflates it. An entry stays in memory while somebody
    has a view of it. The last one always does, because tensors that share it are mostly read in turn.
    """

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._inflated: weakref.WeakValueDictionary[Deflated, Bytes] = weakref.WeakValueDictionary()
        self._last: Bytes | None = None

    def bytes_of(self, entry: Deflated) -> memoryview:
        """The bytes of an entry, read-only. Raises `CheckpointError` for a damaged one."""
        with self._lock:
            inflated = self._inflated.get(entry)
            if inflated is None:
                self._last = None  # before more memory is taken
                inflated = entry.inflate(self._file)
                inflated.flags.writeable = False
                self._inflated[entry] = inflated
            self._last = inflated
            return inflated.data

    def let_go(self) -> None:
        """Keep only the entries that somebody has a view of."""
        with self._lock:
            self._last = None


def check_growth(entries: Iterable[Deflated], file: MappedFile) -> None:
    """Raise `CheckpointError` for entries that claim far more bytes than the file has."""
    total = sum(entry.size for entry in entries)
    if total > FREE_BYTES + MAX_BYTES_OF_A_BYTE * file.size:
        raise CheckpointError(
            f"its compressed entries would take {total} bytes, far more than the file has"
        )
