"""Addition of a base: a full checkpoint is copied into the store, or linked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...catalog import BaseRecord
from ...checkpoint import Checkpoint, open_checkpoint
from ...checkpoint.folder_listing import listing_bytes
from ...checkpoint.layout import canonical_layout
from ...checkpoint.tree import ListedFile
from ...errors import Conflict, InvalidArgument
from ...progress import Meter, Progress
from ...store import ObjectStore, StoredObject, names
from ..repository import Repository
from .fingerprint import fingerprint_checkpoint, source_of, unchanging


def add_base(
    path: Path,
    name: str,
    link: bool,
    repository: Repository,
    progress: Progress,
    *,
    weights: str | None = None,
    keep_extras: bool = False,
) -> BaseRecord:
    """Register a checkpoint as a base.

    The store gets a copy, unless `link` is true: then the checkpoint stays where it is. `weights`:
    the entry of a torch file to use; it is stored alone, as safetensors. `keep_extras`: keep the
    files of a folder that do not belong to its model, too.
    """
    names.check_name("base", name)
    if link and weights is not None:
        raise InvalidArgument(
            "a linked base uses its whole file: one entry of it cannot be chosen",
            "Leave --link out to store the chosen weights, or save them in a file of their own.",
        )
    if link and keep_extras:
        raise InvalidArgument(
            "a linked base stays where it is, with all its extra files: keep_extras has no effect",
            "Leave keep_extras or link out.",
        )
    with (
        unchanging(path, keep_extras=keep_extras),
        open_checkpoint(path, weights, keep_extras=keep_extras) as checkpoint,
    ):
        manifest = fingerprint_checkpoint(checkpoint, progress)
        _check_free(name, manifest.digest, repository)
        if weights is not None:
            chosen = _put_as_safetensors(checkpoint, repository.objects, progress)
            files, format = _BaseFiles(chosen.sha256, chosen.size, (chosen.sha256,)), "safetensors"
        else:
            files = _base_files(checkpoint, link, repository, progress)
            format = checkpoint.format
    stored = repository.objects.put(manifest.to_bytes()).sha256

    def confirm() -> None:
        repository.objects.require(stored, *files.objects)

    return repository.catalog.add_base(
        name,
        digest=manifest.digest,
        manifest=stored,
        file=files.sha256,
        size=files.size,
        format=format,
        link=path.absolute() if link else None,
        replace=True,
        confirm=confirm,
    )


@dataclass(frozen=True)
class _BaseFiles:
    """The file of a base, or the listing of its folder; `objects`: all its objects in the store."""

    sha256: str
    size: int
    objects: tuple[str, ...]


def _base_files(
    checkpoint: Checkpoint, link: bool, repository: Repository, progress: Progress
) -> _BaseFiles:
    """The files of a base: left in place with `link`, otherwise copied into the store."""
    if link:
        return _BaseFiles(*source_of(checkpoint, repository.catalog, progress), objects=())
    if checkpoint.tree is None:
        size = checkpoint.path.stat().st_size
        file = repository.objects.put_file(
            checkpoint.path, Meter(progress, "copying", size).advance
        ).sha256
        return _BaseFiles(file, size, (file,))
    places = checkpoint.tree.places
    meter = Meter(progress, "copying", sum(place.stat().st_size for place in places.values()))
    stored = {
        path: repository.objects.put_file(place, meter.advance) for path, place in places.items()
    }
    listed = tuple(ListedFile(path, file.sha256, file.size) for path, file in stored.items())
    listing = repository.objects.put(listing_bytes(listed)).sha256
    size = sum(file.size for file in listed)
    return _BaseFiles(listing, size, (listing, *(file.sha256 for file in listed)))


def _check_free(name: str, digest: str, repository: Repository) -> None:
    """Check the name before gigabytes are copied; the catalog checks it again. Raises `Conflict`."""
    for base in repository.catalog.bases():
        if names.folded(base.name) == names.folded(name) and base.digest != digest:
            raise Conflict(
                f"the base name {base.name} is taken, and holds other weights",
                "Choose another name.",
            )
        if base.name != name and base.digest == digest:
            raise Conflict(
                f"these weights are the base {base.name} already", f"Use --base {base.name}."
            )


def _put_as_safetensors(
    checkpoint: Checkpoint, objects: ObjectStore, progress: Progress
) -> StoredObject:
    """Store the tensors of an open checkpoint as a safetensors file.

    Raises `CheckpointError`, `StorageError`.
    """
    layout = canonical_layout(checkpoint.tensors.values(), {})
    meter = Meter(progress, "copying", layout.size)
    with objects.new_object() as writer:
        writer.write(layout.prefix)
        for name in layout.order:
            writer.write(checkpoint.read(name))
            checkpoint.release(name)
            meter.advance(checkpoint.tensors[name].nbytes)
        return writer.commit()
