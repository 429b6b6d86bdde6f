"""The export of a version as folders for PEFT, which appear only when they are complete."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..container.reader import Container
from ..errors import InvalidArgument
from ..fs import NewFolder, new_folder, remove_file, storage_errors
from .export_lora import export_lora
from .exported import Dtype, ExportedLora, WrittenFile
from .peft_folder import CONFIGURATION, WEIGHTS, FolderFile, folder_files
from .version_deltas import Base

_WHOLE = "lora.safetensors"
_CHUNK = 1 << 20


def export_peft_folder(
    container: Container,
    base: Base,
    output: Path,
    *,
    rank_limit: int | None,
    dtype: Dtype,
    replace: bool,
    advance: Callable[[int], None],
) -> ExportedLora:
    """Write the delta of `container` to the folder `output`, with a folder for each sub-model in it.

    The arguments are those of `export_lora`, and so are the errors. Raises `InvalidArgument`, too, if
    a folder that is no such export would be replaced.
    """
    _check_replaced(output, replace=replace)
    with new_folder(output.parent) as folder:
        whole = folder.path / _WHOLE
        lora = export_lora(
            container,
            base,
            whole,
            format="peft",
            rank_limit=rank_limit,
            dtype=dtype,
            replace=False,
            advance=advance,
        )
        with storage_errors(output), whole.open("rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
            written = [_written(folder, one, file) for one in folder_files(header)]
        remove_file(whole)
        folder.publish(output, replace=replace)
    files = tuple(WrittenFile(output / path, size, sha256) for path, size, sha256 in written)
    size = sum(file.size for file in files)
    return dataclasses.replace(lora, path=output, size=size, sha256=None, files=files)


def _written(folder: NewFolder, one: FolderFile, whole: BinaryIO) -> tuple[str, int, str]:
    """Write one file, and return its path, size and SHA-256."""
    digest = hashlib.sha256()
    with folder.new_file(one.path, one.size) as file:
        for chunk in _chunks(one, whole):
            digest.update(chunk)
            file.write(chunk)
    return one.path, one.size, digest.hexdigest()


def _chunks(one: FolderFile, whole: BinaryIO) -> Iterator[bytes]:
    yield one.head
    whole.seek(one.first)
    for first in range(one.first, one.end, _CHUNK):
        yield whole.read(min(_CHUNK, one.end - first))


def _check_replaced(output: Path, *, replace: bool) -> None:
    """Raise `Conflict` or `InvalidArgument` for something that must not be replaced."""
    with storage_errors(output):
        if output.exists() and not replace:
            raise FileExistsError(output)
        entries = list(output.rglob("*")) if output.is_dir() else []
        files = [path for path in entries if path.is_symlink() or not path.is_dir()]
        is_export = output.is_dir() and all(
            path.name in (CONFIGURATION, WEIGHTS) and path.parent.parent == output for path in files
        )
    if output.exists() and not is_export:
        raise InvalidArgument(
            f"{output} is not a folder that an export for PEFT wrote, and is not replaced",
            "Give another path, or remove it yourself.",
        )
