"""The storages of a torch file: the bytes of each, and their checksum."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from ..errors import CheckpointError
from ..hashing import READ_CHUNK
from .mapping import MappedFile


@dataclass(frozen=True)
class Extent:
    """The bytes `start:end` of the file. `crc` is their CRC-32, or 0 where the file has none."""

    start: int
    end: int
    crc: int = 0

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.end - self.start

    def check(self, file: MappedFile) -> None:
        """Raise `CheckpointError` unless the bytes have the CRC-32 that the file gives."""
        if not self.crc:
            return
        crc = 0
        for start in range(self.start, self.end, READ_CHUNK):
            crc = zlib.crc32(file.view(start, min(start + READ_CHUNK, self.end)), crc)
        if crc != self.crc:
            raise CheckpointError(
                f"the bytes {self.start} to {self.end} are damaged: their CRC-32 is {crc:08x}, "
                f"not {self.crc:08x}"
            )
