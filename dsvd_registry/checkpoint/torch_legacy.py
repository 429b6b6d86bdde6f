"""The file that `torch.save` wrote before 1.6: pickles one after the other, then the storages.

magic number, protocol version, machine, object, list of storage keys    (five pickles)
per key, in that order: u64 number of elements, and the elements         (little-endian)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO, cast

from ..errors import CheckpointError
from .checkpoint import MAX_TENSORS, shown
from .mapping import MappedFile, Window
from .pickle_machine import MAX_PICKLE_BYTES, Pickled, read_pickle, steps_allowed
from .torch_storages import Extent

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
COUNT = struct.Struct("<Q")


class LegacyFile:
    """The pickle of a legacy file, and the positions of its storages.

    Raises `CheckpointError` for any other pickle, and for damage.
    """

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self._position = 0
        if self._next().value != MAGIC_NUMBER:
            raise CheckpointError(
                "it is a pickle, but not one that torch.save wrote",
                "Save the state dict with torch.save, or as safetensors.",
            )
        if self._next().value != PROTOCOL_VERSION:
            raise CheckpointError(f"its torch protocol is not {PROTOCOL_VERSION}")
        machine = self._next().value
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise CheckpointError("it was saved on a machine that is not little-endian")
        self.pickled = self._next()
        keys = self._next().value
        if not isinstance(keys, list) or len(keys) > MAX_TENSORS:
            raise CheckpointError("its list of storages is damaged")
        # Files of torch before 0.4 number their storages.
        self._keys = [str(key) for key in keys if isinstance(key, str | int)]
        if len(set(self._keys)) < len(keys):
            raise CheckpointError("its list of storages is damaged")

    def storages(self, itemsizes: Mapping[str, int]) -> dict[str, Extent]:
        """The extent of each storage. `itemsizes`: the bytes per element, by key.

        Raises `CheckpointError` if these are not the keys of the file, or for storages that do not
        end where the file does.
        """
        extents = {}
        position, size = self._position, self._file.size
        for key in self._keys:
            if key not in itemsizes:
                raise CheckpointError(f"its storage {shown(key)} belongs to no tensor")
            if position + COUNT.size > size:
                raise CheckpointError(f"it is truncated before its storage {shown(key)}")
            (count,) = COUNT.unpack(self._file.view(position, position + COUNT.size))
            start = position + COUNT.size
            position = start + count * itemsizes[key]
            if position > size:
                raise CheckpointError(f"it is truncated inside its storage {shown(key)}")
            extents[key] = Extent(start, position)
        for key in itemsizes:
            if key not in extents:
                raise CheckpointError(f"it lacks the storage {shown(key)}")
        if position != size:
            raise CheckpointError(f"{size - position} bytes follow its last storage")
        return extents

    def _next(self) -> Pickled:
        end = min(self._file.size, self._position + MAX_PICKLE_BYTES)
        window = Window(self._file, self._position, end, MAX_PICKLE_BYTES)
        pickled = read_pickle(cast(IO[bytes], window), steps_allowed(self._file.size))
        self._position += window.tell()
        return pickled
