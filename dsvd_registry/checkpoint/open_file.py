"""Opening a checkpoint: a folder, or a file whose format is recognised by its content."""

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
    """Open a safetensors file, a file of `torch.save` or a diffusers folder, whatever its name.

    Args:
        path: a file or folder.
        weights: the entry of a `torch.save` file whose tensors are meant, such as "ema".
        keep_extras: keep the files of a folder that are not the model's.

    Raises:
        StorageError: if it cannot be read.
        CheckpointError: if it is not a checkpoint, or breaks a rule of its format.
        InvalidArgument: if `weights` is given for a checkpoint without entries.

    Example:
        with open_checkpoint(Path("model.safetensors")) as checkpoint:
            for name, info in checkpoint.tensors.items():
                print(name, info.dtype, info.shape)
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


def _check_no_choice(path: Path, weights: str | None, kind: str) -> None:
    if weights is not None:
        raise InvalidArgument(
            f"{path} is {kind}, which has no entries to choose {weights!r} from",
            "Leave --weights out: it is for files of torch.save.",
        )
