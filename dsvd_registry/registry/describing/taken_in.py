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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ...catalog import AttachmentRecord, VersionRecord
from ...catalog.metadata_edits import MAX_KEYS
from ...checkpoint.layout import DROPPED_METADATA
from ...errors import Conflict, InvalidArgument
from ...store import event_fields
from ..repository import Repository
from .attached_bytes import ENDINGS, MAX_PICTURE, checked_bytes
from .attachments import AttachmentRole, attach_bytes, role_of_picture
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


def take_in(
    version: VersionRecord, own: Mapping[str, str], path: Path, repository: Repository
) -> TakenIn:
    """Take in the metadata of a checkpoint's header, its pictures, and the files beside it.

    `own`: the metadata of the header. `path`: the checkpoint; nothing lies beside a folder.
    Raises `StorageError`, `RegistryError`.
    """
    beside = list(files_beside(path)) if path.is_file() else []
    left_out = [one for one in beside if isinstance(one, NotTaken)]
    files = [one for one in beside if isinstance(one, FileBeside)]
    kept = repository.catalog.metadata(version.ref)
    entries, refused = _entries(own, files, kept)
    if entries:
        repository.catalog.set_metadata(version.model, version.number, entries)
    attached: list[AttachmentRecord] = []
    known = {one.name.lower(): one for one in repository.catalog.attachments(version.ref)}
    for one in (*files, *_own_pictures(own, path)):
        if isinstance(one, NotTaken):
            left_out.append(one)
        elif one.name.lower() not in known:
            try:
                role = _role(one, (*known.values(), *attached))
                attached.append(attach_bytes(version, one.found, one.name, role, repository))
            except (
                InvalidArgument,
                Conflict,
            ) as error:  # not what the disk or the registry refuses
                left_out.append(NotTaken(one.name, str(error)))
    return TakenIn(tuple(entries), tuple(attached), (*refused, *left_out))


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


def _role(one: FileBeside, attached: Iterable[AttachmentRecord]) -> AttachmentRole:
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
