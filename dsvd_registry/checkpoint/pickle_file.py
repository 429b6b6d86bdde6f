"""Checkpoints of `torch.save`, read without torch and without executing their pickle."""

from __future__ import annotations

import io
from types import MappingProxyType

from ..errors import CheckpointError
from .checkpoint import CheckpointFile, Copier, check_count, check_shape, naming, shown
from .deflated import Deflated, Inflated
from .mapping import MappedFile
from .pickle_machine import MAX_PICKLE_BYTES, Pickled, read_pickle, steps_allowed
from .pickle_values import StorageRef, TensorRef
from .state_dict import select_state_dict
from .strided import check_strided, gather, is_contiguous
from .tensor_info import TensorInfo
from .torch_archive import Entry, TorchArchive, content_of
from .torch_legacy import LegacyFile
from .torch_storages import Extent

ZIP_MAGIC = b"PK\x03\x04"
# Tensors may share storages: a small file could have as many bytes of tensors as it likes.
FREE_BYTES = 64 << 20
MAX_BYTES_OF_A_BYTE = 16  # of the file, where its tensors take over FREE_BYTES


class PickleFile(CheckpointFile):
    """An open checkpoint of torch, as a zip archive (since 1.6) or in the legacy format.

    `weights`: the entry of its value that is the state dict; None to find it.

    Raises `CheckpointError` for a file that is no torch checkpoint, is damaged, or has no clear state
    dict, and `InvalidArgument` for an entry that it lacks.
    """

    format = "pickle"
    header = None

    def __init__(self, file: MappedFile, weights: str | None = None) -> None:
        super().__init__(file)
        self._sound: set[Extent] = set()
        self._inflated = Inflated(file)
        with naming(file.path):
            pickled, self._storages = _open(file)
            state_dict = select_state_dict(pickled, steps_allowed(file.size), weights)
            self._refs, self.left_out = state_dict.tensors, state_dict.left_out
            check_count(len(self._refs))
            self.tensors = MappingProxyType(
                {name: self._describe(name, ref) for name, ref in self._refs.items()}
            )
            self._check_total()

    def read(self, name: str) -> memoryview:
        ref = self._refs[name]
        storage = self._storage(ref)
        if is_contiguous(ref.shape, ref.strides):
            start = ref.offset * ref.kind.itemsize
            return storage[start : start + self.tensors[name].nbytes]
        return gather(storage, ref.shape, ref.strides, ref.offset, ref.kind.itemsize)

    def copier(self, name: str) -> Copier:
        ref = self._refs[name]
        extent = self._storages[ref.storage.key]
        if isinstance(extent, Deflated) or not is_contiguous(ref.shape, ref.strides):
            return super().copier(name)
        self._check_sound(extent)
        start = extent.start + _part(ref.storage, extent)[0] + ref.offset * ref.kind.itemsize
        return lambda first, memory: self._file.copy(start + first, memory)

    def release(self, name: str) -> None:
        extent = self._storages[self._refs[name].storage.key]
        self._file.release(extent.start, extent.end)

    def close(self) -> None:
        self._inflated.let_go()
        super().close()

    def _check_total(self) -> None:
        total = sum(info.nbytes for info in self.tensors.values())
        if total > FREE_BYTES + MAX_BYTES_OF_A_BYTE * self._file.size:
            raise CheckpointError(f"its tensors take {total} bytes, far more than the file has")

    def _storage(self, ref: TensorRef) -> memoryview:
        """The tensor's storage, or its part of it, after its checksum was compared."""
        extent = self._storages[ref.storage.key]
        start, end = _part(ref.storage, extent)
        if isinstance(extent, Deflated):
            with naming(self.path):
                return self._inflated.bytes_of(extent)[start:end]
        self._check_sound(extent)
        return self._file.view(extent.start + start, extent.start + end)

    def _check_sound(self, extent: Extent) -> None:
        if extent not in self._sound:
            with naming(self.path):
                extent.check(self._file)
            self._sound.add(extent)

    def _describe(self, name: str, ref: TensorRef) -> TensorInfo:
        assert ref.kind.dtype is not None  # or it would be an UnreadableTensor
        info = TensorInfo(name, ref.kind.dtype, check_shape(name, ref.shape))
        start, end = _part(ref.storage, self._storages[ref.storage.key])
        try:
            check_strided(ref.shape, ref.strides, ref.offset, ref.kind.itemsize, end - start)
        except CheckpointError as error:
            raise CheckpointError(f"tensor {shown(name)}: {error}") from error
        return info


def _open(file: MappedFile) -> tuple[Pickled, dict[str, Entry]]:
    """The parsed pickle, and the storages of its tensors by their keys."""
    if file.view(0, min(file.size, len(ZIP_MAGIC))) == ZIP_MAGIC:
        archive = TorchArchive(file)
        extent = archive.pickle
        if extent.size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"its data.pkl has {extent.size} bytes")
        pickled = read_pickle(io.BytesIO(content_of(extent, file)), steps_allowed(file.size))
        sizes = _sizes(pickled)
        extents: dict[str, Entry] = {key: archive.storage(key) for key in sizes}
    else:
        legacy = LegacyFile(file)
        pickled = legacy.pickled
        sizes = _sizes(pickled)
        # The first tensor of a storage decided how its elements were counted.
        itemsizes: dict[str, int] = {}
        for storage in pickled.storages:
            itemsizes.setdefault(storage.key, storage.kind.itemsize)
        extents = dict(legacy.storages(itemsizes))
    for key, size in sizes.items():
        if extents[key].size != size:
            raise CheckpointError(
                f"its storage {shown(key)} has {extents[key].size} bytes, not {size}"
            )
    return pickled, extents


def _sizes(pickled: Pickled) -> dict[str, int]:
    """The size in bytes of each storage, by its key."""
    sizes: dict[str, int] = {}
    for storage in pickled.storages:
        size = storage.elements * storage.kind.itemsize
        if sizes.setdefault(storage.key, size) != size:
            raise CheckpointError(f"its storage {shown(storage.key)} has two sizes")
    return sizes


def _part(storage: StorageRef, extent: Entry) -> tuple[int, int]:
    """The first and the last byte (exclusive) of the storage that a reference means."""
    start = storage.first * storage.kind.itemsize
    end = start + storage.count * storage.kind.itemsize
    if end > extent.size:
        raise CheckpointError(
            f"a view of its storage {shown(storage.key)} is longer than the storage"
        )
    return start, end
