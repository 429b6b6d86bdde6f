"""Which kind of checkpoint lies at a path: a folder, or a file, by its content."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .folder import FolderCheckpoint, files_below, is_checkpoint_folder
from .mapping import MappedFile
from .model import Checkpoint
from .pickle_file import ZIP_MAGIC, PickleFile
from .safetensors_file import LENGTH, SafetensorsFile

PICKLE_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
LFS_POINTER = b"version https://git-lfs"
TAR_MAGIC, TAR_MAGIC_OFFSET = b"ustar", 257
HEAD_BYTES = 512


def open_checkpoint(path: Path, *, keep_extras: bool = False) -> Checkpoint:
    """Open a safetensors file, a file of `torch.save`, whatever its name says, or diffusers' folder.

    `keep_extras`: files of a folder that are none of the model's are not left out.
    Raises `StorageError` if it cannot be read, and `CheckpointError` if it is not a checkpoint or
    breaks a rule of its format.
    """
    if is_checkpoint_folder(path):
        return FolderCheckpoint(path, files_below(path, keep_extras=keep_extras))
    file = MappedFile(path)
    try:
        return _kind(file)(file)
    except BaseException:
        file.close()
        raise


def _kind(file: MappedFile) -> type[SafetensorsFile] | type[PickleFile]:
    head = bytes(file.view(0, min(HEAD_BYTES, file.size)))
    # First, because the length in front of a header may begin like a pickle.
    if head[LENGTH.size : LENGTH.size + 1] == b"{":
        return SafetensorsFile
    if head.startswith((ZIP_MAGIC, *PICKLE_PROTOCOLS)):
        return PickleFile
    if head.startswith(LFS_POINTER):
        raise CheckpointError(
            f"{file.path} is a Git LFS pointer, not the file that it stands for",
            "Run `git lfs pull` in that repository.",
        )
    if head[TAR_MAGIC_OFFSET:].startswith(TAR_MAGIC):
        raise CheckpointError(
            f"{file.path} is a tar archive, as torch wrote them before 0.1.10",
            "Load it with torch and save it again.",
        )
    raise CheckpointError(
        f"{file.path} is not a checkpoint: expected safetensors or a torch pickle"
    )
