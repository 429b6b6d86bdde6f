"""Which kind of checkpoint lies at a path: a folder, or a file, by its content."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidArgument
from .checkpoint import Checkpoint
from .folder import FolderCheckpoint, files_below, is_checkpoint_folder
from .foreign_files import refuse
from .mapping import MappedFile
from .pickle_file import ZIP_MAGIC, PickleFile
from .safetensors_file import BEGINNING, LENGTH, SafetensorsFile

PICKLE_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
HEAD_BYTES = 512


def open_checkpoint(
    path: Path, weights: str | None = None, *, keep_extras: bool = False
) -> Checkpoint:
    """Open a safetensors file, a file of `torch.save`, whatever its name says, or diffusers' folder.

    `weights`: the entry of a file of `torch.save` whose tensors are meant, such as "ema".
    `keep_extras`: files of a folder that are none of the model's are not left out.

    Raises `StorageError` if it cannot be read, `CheckpointError` if it is not a checkpoint or breaks
    a rule of its format, and `InvalidArgument` for `weights` of what has no entries.
    """
    if is_checkpoint_folder(path):
        _check_no_choice(path, weights, "a folder")
        return FolderCheckpoint(path, files_below(path, keep_extras=keep_extras))
    file = MappedFile(path)
    try:
        head = bytes(file.view(0, min(HEAD_BYTES, file.size)))
        # First, because the length in front of a header may begin like a pickle.
        if BEGINNING.match(head, LENGTH.size):
            _check_no_choice(path, weights, "a safetensors file")
            return SafetensorsFile(file)
        if head.startswith((ZIP_MAGIC, *PICKLE_PROTOCOLS)):
            return PickleFile(file, weights)
        raise refuse(path, head)
    except BaseException:
        file.close()
        raise


def _check_no_choice(path: Path, weights: str | None, what: str) -> None:
    if weights is not None:
        raise InvalidArgument(
            f"{path} is {what}, which has no entries to choose {weights!r} from",
            "Leave --weights out: it is for files of torch.save.",
        )
