"""The zip archive that `torch.save` writes since 1.6.

    NAME/data.pkl      the pickle
    NAME/data/KEY      the bytes of each storage, stored and not compressed by torch itself
    NAME/byteorder     "little" (absent before 2.1)

The standard library finds the entries. Only the local headers give the start of their data; they are
checked here against the central directory (zip: APPNOTE.TXT 4.3.7).
"""

from __future__ import annotations

import itertools
import struct
import zipfile
from typing import IO, cast

from ..errors import CheckpointError
from .checkpoint import MAX_TENSORS, shown
from .deflated import Deflated, check_growth
from .mapping import MappedFile, Window
from .torch_storages import Extent

# 46 bytes per entry, and its name.
MAX_DIRECTORY_BYTES = MAX_TENSORS * 96
MAX_BYTEORDER_BYTES = 16
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
LOCAL_MAGIC = b"PK\x03\x04"
ENCRYPTED = 0x1
SIZES_FOLLOW = 0x8
UTF8_NAME = 0x800
ZIP64_SIZE = 0xFFFFFFFF
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the methods that torch reads

Entry = Extent | Deflated


class TorchArchive:
    """The entries of a torch zip file, by name without the folder that they are all in.

    Raises `CheckpointError` for an archive that torch did not write, or that contradicts itself.
    """

    def __init__(self, file: MappedFile) -> None:
        extents = _entries(file)
        check_growth((one for one in extents.values() if isinstance(one, Deflated)), file)
        pickles = [name for name in extents if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError(f"it is a zip archive with {len(pickles)} data.pkl, not with one")
        folder = pickles[0].removesuffix("data.pkl")
        if folder + "constants.pkl" in extents:
            raise CheckpointError(
                "it is a TorchScript archive, which contains a program",
                "Save the state dict of the model with torch.save, or as safetensors.",
            )
        self.pickle = extents[pickles[0]]
        self._storages = {
            name.removeprefix(folder + "data/"): extent
            for name, extent in extents.items()
            if name.startswith(folder + "data/")
        }
        order = extents.get(folder + "byteorder")
        if order is not None and (
            order.size > MAX_BYTEORDER_BYTES or content_of(order, file) != b"little"
        ):
            raise CheckpointError("it was saved on a machine that is not little-endian")

    def storage(self, key: str) -> Entry:
        """The bytes of a storage. Raises `CheckpointError` if the archive lacks it."""
        if key not in self._storages:
            raise CheckpointError(f"it lacks the storage {shown(key)}")
        return self._storages[key]


def content_of(entry: Entry, file: MappedFile) -> bytes:
    """The bytes of a small entry. Raises `CheckpointError` if their CRC-32 is another."""
    if isinstance(entry, Deflated):
        return entry.inflate(file).tobytes()
    entry.check(file)
    return bytes(file.view(entry.start, entry.end))


def _entries(file: MappedFile) -> dict[str, Entry]:
    window = cast(IO[bytes], Window(file, 0, file.size, MAX_DIRECTORY_BYTES))
    try:
        with zipfile.ZipFile(window) as archive:
            infos, directory = archive.infolist(), archive.start_dir
    # The errors that zipfile lets through for damaged directories.
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        OverflowError,
        struct.error,
    ) as error:
        raise CheckpointError(f"it is a truncated or damaged zip archive: {error}") from error
    extents: dict[str, Entry] = {}
    for entry in infos:
        if entry.filename in extents:
            raise CheckpointError(f"its zip archive has the entry {shown(entry.filename)} twice")
        try:
            extents[entry.filename] = _extent(file, entry, directory)
        except CheckpointError as error:
            message = f"its zip entry {shown(entry.filename)} {error}"
            raise CheckpointError(message, error.hint) from error
    in_order = sorted(extents.values(), key=lambda extent: (extent.start, extent.end))
    for one, other in itertools.pairwise(in_order):
        if other.start < one.end:
            raise CheckpointError("its zip archive has entries that overlap")
    return extents


def _extent(file: MappedFile, entry: zipfile.ZipInfo, directory: int) -> Entry:
    if entry.flag_bits & ENCRYPTED:
        raise CheckpointError("is encrypted")
    if entry.compress_type not in METHODS:
        raise CheckpointError(
            "is compressed in a way that torch does not read",
            "Save it again with torch.save, or as safetensors.",
        )
    is_stored = entry.compress_type == zipfile.ZIP_STORED
    if is_stored and entry.compress_size != entry.file_size:
        raise CheckpointError("is compressed by its sizes, and stored by its method")
    header = entry.header_offset
    if not 0 <= header <= directory - LOCAL_HEADER.size:
        raise CheckpointError("begins outside the file")
    magic, _, flags, method, _, _, _, stored, size, name_size, extra_size = LOCAL_HEADER.unpack(
        file.view(header, header + LOCAL_HEADER.size)
    )
    start = header + LOCAL_HEADER.size + name_size + extra_size
    end = start + entry.compress_size
    if magic != LOCAL_MAGIC or method != entry.compress_type or flags & ENCRYPTED:
        raise CheckpointError("has another header than the directory says")
    if end > directory:
        raise CheckpointError("ends outside the file")
    # Writers that stream leave the sizes to the directory; zip64 keeps them elsewhere.
    if not flags & SIZES_FOLLOW and (
        stored not in (entry.compress_size, ZIP64_SIZE) or size not in (entry.file_size, ZIP64_SIZE)
    ):
        raise CheckpointError("has another size than the directory says")
    name = bytes(file.view(header + LOCAL_HEADER.size, header + LOCAL_HEADER.size + name_size))
    if name.decode("utf-8" if flags & UTF8_NAME else "cp437", "replace") != entry.orig_filename:
        raise CheckpointError("has another name than the directory says")
    if is_stored:
        return Extent(start, end, entry.CRC)
    return Deflated(start, end, entry.file_size, entry.CRC)
