"""An entry of a zip archive that is compressed, as other programs than torch write them.

torch reads such archives, so some are about. What an entry claims to become is bounded by the file's
size before anything is inflated (`check_growth`), and inflating stops at what it claims.
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

# Weights hardly compress: what grows more than this is no checkpoint.
FREE_BYTES = 8 << 20
MAX_BYTES_OF_A_BYTE = 16  # of the file, where all entries together take over FREE_BYTES


@dataclass(frozen=True)
class Deflated:
    """The compressed bytes `start:end` of the file, which become `size` bytes of this CRC-32."""

    start: int
    end: int
    size: int
    crc: int

    def inflate(self, file: MappedFile) -> Bytes:
        """All of them. Raises `CheckpointError` unless they are as many as claimed, and sound."""
        memory = np.empty(self.size, np.uint8)
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        filled = crc = 0
        try:
            for start in range(self.start, self.end, READ_CHUNK):
                waiting: bytes = file.view(start, min(start + READ_CHUNK, self.end)).tobytes()
                while waiting and not inflating.eof:
                    # One byte more than there is room for tells that it is too long.
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
    """Entries of one file, inflated when they are asked for.

    Of several threads that need one, the first inflates it. It is held while anybody has a view of
    it; besides those, only the last one is, for tensors that share it are mostly read in turn.
    """

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._held: weakref.WeakValueDictionary[Deflated, Bytes] = weakref.WeakValueDictionary()
        self._last: Bytes | None = None

    def bytes_of(self, entry: Deflated) -> memoryview:
        """The bytes of an entry, read-only. Raises `CheckpointError` for a damaged one."""
        with self._lock:
            found = self._held.get(entry)
            if found is None:
                self._last = None  # before more memory is taken
                found = entry.inflate(self._file)
                found.flags.writeable = False
                self._held[entry] = found
            self._last = found
            return found.data

    def let_go(self) -> None:
        """Hold nothing but what somebody has a view of."""
        with self._lock:
            self._last = None


def check_growth(entries: Iterable[Deflated], file: MappedFile) -> None:
    """Raises `CheckpointError` for entries that claim to become far more than the file is."""
    total = sum(entry.size for entry in entries)
    if total > FREE_BYTES + MAX_BYTES_OF_A_BYTE * file.size:
        raise CheckpointError(
            f"its compressed entries would take {total} bytes, far more than the file has"
        )
