"""The files that tools put beside a checkpoint NAME.safetensors: taken in with it, and given back.

A1111 and Forge look for NAME.preview.png and NAME.png (or jpg, jpeg, webp), NAME.json and NAME.txt;
its civitai helper for NAME.civitai.info; Stability Matrix for NAME.cm-info.json; the LoRA manager of
ComfyUI for NAME.metadata.json. All are read as bytes, and nothing in them is executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from ... import fs
from ...catalog import AttachmentRecord
from ...errors import DsvdError
from ...progress import Meter, silent
from ..adding.model_names import ascii_name
from ..exchange.object_copies import copy_out
from ..repository import Repository
from ..upkeep.findings import problem_of
from .attached_bytes import ENDINGS, AttachedBytes, read_attached

PICTURES = tuple(
    f"{middle}.{ending}" for middle in (".preview", "") for ending in ("png", "jpg", "jpeg", "webp")
)
TEXTS = (".civitai.info", ".cm-info.json", ".metadata.json", ".json", ".txt")
"""The endings of sidecars; a longer one comes before the one that it ends with."""


@dataclass(frozen=True)
class FileBeside:
    """A file beside a checkpoint, read and checked. `name`: the name that it is attached under."""

    name: str
    ending: str
    found: AttachedBytes


@dataclass(frozen=True)
class NotTaken:
    """A file, a picture or a key that was not taken in, and the reason."""

    name: str
    reason: str


def files_beside(checkpoint: Path) -> Iterator[FileBeside | NotTaken]:
    """The files beside a checkpoint, previews first; one that cannot be attached comes with the reason.

    Raises `StorageError` if the folder cannot be looked at, or the machine refuses.
    """
    for ending in (*PICTURES, *TEXTS):
        path = checkpoint.with_name(checkpoint.stem + ending)
        with fs.storage_errors(path):
            if not os.path.lexists(path):
                continue
            is_plain = S_ISREG(path.lstat().st_mode)
        if not is_plain:
            yield NotTaken(path.name, "it is a symbolic link or a folder")
            continue
        try:
            yield FileBeside(attachment_name(path), ending, read_attached(path))
        except DsvdError as error:
            yield NotTaken(path.name, problem_of(error))


def attachment_name(path: Path) -> str:
    """The name that a file is attached under: its own, in ASCII, with its ending."""
    known = (ending for ending in (*PICTURES, *TEXTS) if path.name.lower().endswith(ending))
    ending = next(known, path.suffix if path.suffix[1:].isalnum() and path.suffix.isascii() else "")
    if len(ending) > 20 or not path.name[: len(path.name) - len(ending)]:
        ending = ""
    return ascii_name(path.name[: len(path.name) - len(ending)]) + ending


def given_beside(attachments: Iterable[AttachmentRecord]) -> dict[str, AttachmentRecord]:
    """The attachments that tools look for beside a checkpoint, by what follows the checkpoint's stem.

    They are the preview and the sidecars; of several with one ending it is the newest.
    """
    found: dict[str, AttachmentRecord] = {}
    for one in attachments:
        if one.role == "preview":
            found = {end: was for end, was in found.items() if was.role != "preview"}
            found[f".preview.{ENDINGS[one.media_type]}"] = one
        elif one.role == "sidecar":
            ending = next((text for text in TEXTS if one.name.lower().endswith(text)), None)
            if ending is not None:
                found[ending] = one
    return found


def write_beside(
    checkpoint: Path,
    attachments: Iterable[AttachmentRecord],
    repository: Repository,
    *,
    replace: bool,
) -> tuple[Path, ...]:
    """Write the preview and the sidecars beside a checkpoint; a file that is there stays.

    `replace`: replace such files. Raises `RegistryError` for a damaged attachment, `StorageError`.
    """
    written = []
    for ending, record in given_beside(attachments).items():
        path = checkpoint.with_name(checkpoint.stem + ending)
        with fs.storage_errors(path):
            is_there = os.path.lexists(path)
        if is_there and not replace:
            continue
        meter = Meter(silent, "copying", record.size)
        what = f"the attachment {record.name} of {record.model}@{record.number}"
        copy_out(record.sha256, what, repository.objects, path, meter, replace=replace)
        written.append(path)
    return tuple(written)
