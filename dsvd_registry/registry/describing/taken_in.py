"""The metadata and pictures that an addition takes in without being asked: those that a checkpoint has
itself, and those beside it.

Only what the version lacks is set, so that the same addition again completes an interrupted one and
changes nothing that a person has set. All of it comes from outside: it is bounded, and what breaks a
rule is left out and listed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ...catalog import AttachmentRecord, NewAttachment
from ...catalog.metadata_edits import MAX_KEYS, attached_twin
from ...checkpoint.layout import DROPPED_METADATA
from ...errors import Conflict, InvalidArgument
from ...store import event_fields
from ..repository import Repository
from .attached_bytes import ENDINGS, MAX_PICTURE, checked_bytes
from .attachments import AttachmentRole, put_attachment, role_of_picture
from .beside import FileBeside, NotTaken, files_beside

PREFIXES_OF_LORAS = ("ss_", "ssmd_", "modelspec.")
PREFIXES = (*PREFIXES_OF_LORAS, "dsvd.")
COVERS, THUMBNAIL = "ssmd_cover_images", "modelspec.thumbnail"
MAX_COVERS = 8
MAX_TRIGGER = 1000
TRIGGER, TRIGGER_OF_FILE = "trigger", "modelspec.trigger_phrase"


@dataclass(frozen=True)
class TakenIn:
    """The keys and attachments that an addition took in, and what it left out."""

    keys: tuple[str, ...] = ()
    attachments: tuple[AttachmentRecord, ...] = ()
    left_out: tuple[NotTaken, ...] = ()


NOTHING = TakenIn()


@dataclass(frozen=True)
class ToTakeIn:
    """The entries and stored attachments that an addition takes in, and what it leaves out."""

    entries: Mapping[str, str]
    attachments: tuple[NewAttachment, ...]
    left_out: tuple[NotTaken, ...]


def find_to_take_in(
    own: Mapping[str, str],
    path: Path,
    kept: Mapping[str, str],
    attached: Sequence[AttachmentRecord | NewAttachment],
    ref: str,
    repository: Repository,
) -> ToTakeIn:
    """The metadata and attachments of a checkpoint that a version lacks, stored and not recorded yet.

    `own`: the metadata of the checkpoint's header. `path`: the checkpoint; nothing lies beside a
    folder. `kept`, `attached`: what the version has, or is given by the same addition. `ref`: its name
    for messages. Raises `StorageError`, `RegistryError`.
    """
    beside = list(files_beside(path)) if path.is_file() else []
    left_out = [one for one in beside if isinstance(one, NotTaken)]
    files = [one for one in beside if isinstance(one, FileBeside)]
    entries, refused = _entries(own, files, kept)
    there, new = list(attached), list[NewAttachment]()
    names = {one.name.lower() for one in attached}
    for one in (*files, *_own_pictures(own, path)):
        if isinstance(one, NotTaken):
            left_out.append(one)
        elif one.name.lower() not in names:
            try:
                stored = put_attachment(one.found, one.name, _role(one, there), repository)
                attached_twin(stored, there, ref)
            except (
                InvalidArgument,
                Conflict,
            ) as error:  # not what the disk or the registry refuses
                left_out.append(NotTaken(one.name, str(error)))
            else:
                there.append(stored)
                new.append(stored)
    return ToTakeIn(entries, tuple(new), (*refused, *left_out))


def metadata_for_lora(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that an exported LoRA file has: what trainers and model sites write there.

    Left out are digests of the weights and the shape of the network, which are others in that file.
    """
    found = {
        key: value
        for key, value in metadata.items()
        if key.startswith(PREFIXES_OF_LORAS)
        and not key.startswith("ss_network_")
        and key not in DROPPED_METADATA
    }
    if TRIGGER in metadata:
        found[TRIGGER_OF_FILE] = metadata[TRIGGER]
    return found


def _role(one: FileBeside, attached: Iterable[AttachmentRecord | NewAttachment]) -> AttachmentRole:
    if not one.found.is_picture:
        return "sidecar"
    return role_of_picture(attached)


def _entries(
    own: Mapping[str, str], files: Iterable[FileBeside], kept: Mapping[str, str]
) -> tuple[dict[str, str], list[NotTaken]]:
    """The entries that a version lacks, shortest first, as many as it may have."""
    found = {
        key: value
        for key, value in own.items()
        if key.startswith(PREFIXES) and key not in (COVERS, THUMBNAIL)
    }
    if trigger := own.get(TRIGGER_OF_FILE) or _trigger_beside(files):
        found[TRIGGER] = trigger[:MAX_TRIGGER]
    _, rule = get_args(event_fields.Entries)
    room = event_fields.MAX_ENTRIES - sum(len(key) + len(value) for key, value in kept.items())
    taken: dict[str, str] = {}
    refused: list[NotTaken] = []
    for key, value in sorted(found.items(), key=lambda entry: (len(entry[1]), entry[0])):
        if key in kept:
            continue
        length = len(key) + len(value)
        if not rule.accepts({key: value}):
            refused.append(NotTaken(key[:80], "its key or value cannot be kept"))
        elif length > room or len(kept) + len(taken) == MAX_KEYS:
            refused.append(NotTaken(key, f"its {length} characters are too many with the others"))
        else:
            taken[key] = value
            room -= length
    return dict(sorted(taken.items())), refused


def _trigger_beside(files: Iterable[FileBeside]) -> str:
    """The trigger words that a sidecar names: of Civitai, of Stability Matrix, or of A1111."""
    for ending, key in (
        (".civitai.info", "trainedWords"),
        (".cm-info.json", "TrainedWords"),
        (".json", "activation text"),
    ):
        for file in files:
            if file.ending == ending and file.found.media_type == "application/json":
                document = json.loads(file.found.data)
                words = document.get(key) if isinstance(document, dict) else None
                listed = words if isinstance(words, list) else [words]
                texts = [word.strip() for word in listed if isinstance(word, str) and word.strip()]
                if texts:
                    return ", ".join(texts)
    return ""


def _own_pictures(own: Mapping[str, str], path: Path) -> Iterator[FileBeside | NotTaken]:
    """The pictures in a header: a thumbnail as a data URL, and covers as a list of base64."""
    texts = []
    if THUMBNAIL in own:
        head, _, text = own[THUMBNAIL].partition(";base64,")
        texts.append((THUMBNAIL, "thumbnail", text if head.startswith("data:image/") else ""))
    if COVERS in own:
        try:
            covers = json.loads(own[COVERS])
        except (ValueError, RecursionError):
            covers = None
        if not isinstance(covers, list) or not all(isinstance(one, str) for one in covers):
            yield NotTaken(COVERS, "it is no list of pictures")
            covers = []
        if len(covers) > MAX_COVERS:
            yield NotTaken(
                COVERS, f"of its {len(covers)} pictures the first {MAX_COVERS} are taken"
            )
        texts += [
            (COVERS, f"cover-{number}", text) for number, text in enumerate(covers[:MAX_COVERS], 1)
        ]
    for key, name, text in texts:
        try:
            if len(text) > MAX_PICTURE * 4 // 3 + 4:
                raise ValueError("it is too large")
            found = checked_bytes(base64.b64decode(text, validate=True), f"{path} {name}")
            if not found.is_picture:
                raise ValueError("it is no picture")
        except (ValueError, binascii.Error, InvalidArgument) as error:
            yield NotTaken(key, f"{name}: {error}")
        else:
            yield FileBeside(f"{name}.{ENDINGS[found.media_type]}", "", found)
