"""Digests that identify a checkpoint: the SHA-256 of its file, of its folder, of its tensors."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ... import canonical
from ...catalog import CachedFingerprint, Catalog, FileState
from ...checkpoint import Checkpoint
from ...checkpoint.folder import files_below, is_checkpoint_folder
from ...checkpoint.folder_listing import listing_digest
from ...checkpoint.safetensors_file import parse_header
from ...checkpoint.tree import ListedFile, Tree
from ...errors import StorageError
from ...fs import storage_errors
from ...hashing import all_digests_of_file
from ...progress import Meter, Progress, silent
from ...reconstruction.base_weights import Manifest

CLAIMED = "sshs_model_hash"  # in the metadata of a LoRA by kohya's tools, and among `DIGEST_DIGITS`


@contextlib.contextmanager
def unchanging(path: Path, *, keep_extras: bool = False) -> Iterator[Callable[[], None]]:
    """Raise `StorageError` on leaving if another program has changed the checkpoint meanwhile.

    The file is watched, or all files of a folder that are added (`keep_extras`: extras too). The
    context gives a function that makes the same check at once, for use before something is recorded.
    Raises `CheckpointError` as `open_checkpoint`.
    """
    before = _states(path, keep_extras)

    def check() -> None:
        if _states(path, keep_extras) != before:
            raise StorageError(
                f"{path} was changed while it was read", "Run it again when the file is complete."
            )

    yield check
    check()


def file_sha256(path: Path, catalog: Catalog, progress: Progress = silent) -> str:
    """The SHA-256 of a file, cached by path, size, time and inode. Raises `StorageError`."""
    known = catalog.cached_fingerprint(FileState.of(path))
    return known.sha256 if known is not None else file_digests(path, catalog, progress)["sha256"]


def file_digests(path: Path, catalog: Catalog, progress: Progress = silent) -> Mapping[str, str]:
    """Every digest of a file by kind (`DIGEST_DIGITS`), cached as its SHA-256 is.

    Raises `StorageError`.
    """
    state = FileState.of(path)
    if (cached := cached_digests(state, catalog)) is not None:
        return cached
    found = all_digests_of_file(path, Meter(progress, "hashing", state.size).advance)
    text = canonical.encode_small(found).decode()
    catalog.remember_fingerprint(state, CachedFingerprint(found["sha256"], text))
    return found


def cached_digests(state: FileState, catalog: Catalog) -> Mapping[str, str] | None:
    """The digests of a file in this state that `file_digests` found before; None without them."""
    known = catalog.cached_fingerprint(state)
    if known is None or known.content is None:
        return None
    found = json.loads(known.content)
    return found if isinstance(found, dict) and found.get("sha256") == known.sha256 else None


def source_digests(
    checkpoint: Checkpoint, catalog: Catalog, progress: Progress
) -> Mapping[str, Mapping[str, str]]:
    """The digests of the files that hold a checkpoint's tensors, by path ("" for the only file).

    Files that `source_of` has just hashed are not read again. Raises `StorageError`.
    """
    if checkpoint.tree is None:
        found = file_digests(checkpoint.path, catalog, progress)
        metadata, _ = parse_header(checkpoint.header) if checkpoint.header else (None, {})
        claimed = (metadata or {}).get(CLAIMED, "").lower()
        is_digest = re.fullmatch("[0-9a-f]{64}", claimed) is not None
        return {"": {**found, CLAIMED: claimed} if is_digest else found}
    places = {file.path: checkpoint.tree.places[file.path] for file in checkpoint.tree.tensors}
    return {path: file_digests(place, catalog, progress) for path, place in places.items()}


def source_of(checkpoint: Checkpoint, catalog: Catalog, progress: Progress) -> tuple[str, int]:
    """The SHA-256 and size in bytes of a checkpoint: of its file, or of its folder's listing.

    Raises `StorageError`.
    """
    if checkpoint.tree is None:
        return file_sha256(checkpoint.path, catalog, progress), checkpoint.path.stat().st_size
    listed = listed_files(checkpoint.tree, catalog, progress)
    return listing_digest(listed), sum(file.size for file in listed)


def listed_files(tree: Tree, catalog: Catalog, progress: Progress) -> tuple[ListedFile, ...]:
    """Every file of a folder with its size and SHA-256. Raises `StorageError`."""
    listed = list(tree.kept)
    for file in tree.tensors:
        place = tree.places[file.path]
        listed.append(
            ListedFile(file.path, file_sha256(place, catalog, progress), place.stat().st_size)
        )
    return tuple(listed)


def _states(path: Path, keep_extras: bool) -> dict[Path, tuple[FileState, int]]:
    """The state of each file and its ctime, which unlike the modification time no program can set."""
    places: Iterable[Path] = [path]
    if is_checkpoint_folder(path):
        places = files_below(path, keep_extras=keep_extras).places.values()
    with storage_errors(path):
        return {place: (FileState.of(place), place.stat().st_ctime_ns) for place in places}


def fingerprint_checkpoint(checkpoint: Checkpoint, progress: Progress) -> Manifest:
    """The manifest of a checkpoint, made by hashing every tensor. Raises `CheckpointError`."""
    total = sum(info.nbytes for info in checkpoint.tensors.values())
    meter = Meter(progress, "hashing tensors", total)
    return Manifest(tuple(checkpoint.fingerprints(meter.advance)))
