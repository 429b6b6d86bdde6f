"""Opening a checkpoint: a folder, or a file whose format is recognised by its content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, InvalidArgument
from .checkpoint import Checkpoint
from .folder import FolderCheckpoint, files_below, is_checkpoint_folder
from .mapping import MappedFile
from .pickle_file import ZIP_MAGIC, PickleFile
from .safetensors_file import BEGINNING, LENGTH, SafetensorsFile


@dataclass(frozen=True)
class _Kind:
    """A kind of file: its first bytes, its name in the sentence "FILE is ...", and a hint."""

    begins: re.Pattern[bytes]
    description: str
    hint: str


_KINDS = (
    _Kind(
        re.compile(rb"version https://git-lfs"),
        "a Git LFS pointer, not the file that it stands for",
        "Run `git lfs pull` in that repository.",
    ),
    _Kind(
        re.compile(rb"# xet version "),
        "a Git Xet pointer, not the file that it stands for",
        "Run `git xet checkout` in that repository, or download the file itself.",
    ),
    _Kind(
        re.compile(rb"GGUF"),
        "a GGUF file, whose weights are quantised in blocks",
        "Use the safetensors model that it was made from: quantised weights have no delta.",
    ),
    _Kind(
        re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
        "a web page, not the file that was to be downloaded",
        "Download it again. The page may give the reason, for example that you must log in.",
    ),
    _Kind(
        re.compile(rb".{257}ustar", re.DOTALL),
        "a tar archive, as torch wrote them before 0.1.10",
        "Load it with torch and save it again.",
    ),
)


def _refusal(path: Path, head: bytes) -> CheckpointError:
    """The error for a file that is no checkpoint, by its first bytes `head`."""
    for kind in _KINDS:
        if kind.begins.match(head):
            return CheckpointError(f"{path} is {kind.description}", kind.hint)
    return CheckpointError(f"{path} is not a checkpoint: expected safetensors or a torch pickle")


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
        raise _refusal(path, head)
    except BaseException:
        file.close()
        raise


def _check_no_choice(path: Path, weights: str | None, kind: str) -> None:
    if weights is not None:
        raise InvalidArgument(
            f"{path} is {kind}, which has no entries to choose {weights!r} from",
            "Leave --weights out: it is for files of torch.save.",
        )
