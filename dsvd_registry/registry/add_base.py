"""Adding a base: a full checkpoint copied into the store, or left where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..catalog import BaseRecord
from ..checkpoint import Checkpoint, open_checkpoint
from ..checkpoint.folder_listing import listing_bytes
from ..checkpoint.tree import ListedFile
from ..errors import Conflict, InvalidArgument
from ..progress import Meter, Progress
from ..store import names
from .chosen_weights import put_as_safetensors
from .fingerprint import check_manifest_fits, fingerprint_checkpoint, source_of, unchanging
from .repository import Repository


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
    """Register a checkpoint as a base: a copy of it, or with `link` the file where it lies.

    With `weights`, that entry of a torch file; it is stored alone, as safetensors. With `keep_extras`,
    also the files of a folder that are none of its model's.
    """
    names.check_name("base", name)
    if link and weights is not None:
        raise InvalidArgument(
            "a base that is linked is all of its file: one entry of it cannot be chosen",
            "Leave --link out, which stores the chosen weights; or save them in a file of their own.",
        )
    if link and keep_extras:
        raise InvalidArgument(
            "a base that is linked stays where it is, with all that lies beside it",
            "Leave keep_extras out, or link.",
        )
    with (
        unchanging(path, keep_extras=keep_extras),
        open_checkpoint(path, weights, keep_extras=keep_extras) as checkpoint,
    ):
        check_manifest_fits(checkpoint)
        manifest = fingerprint_checkpoint(checkpoint, progress)
        _check_free(name, manifest.digest, repository)
        if weights is not None:
            chosen = put_as_safetensors(checkpoint, repository.objects, progress)
            held, format = _Held(chosen.sha256, chosen.size, (chosen.sha256,)), "safetensors"
        else:
            held = _held(checkpoint, link, repository, progress)
            format = checkpoint.format
    stored = repository.objects.put(manifest.to_bytes()).sha256

    def confirm() -> None:
        for sha256 in (stored, *held.objects):
            repository.objects.path(sha256)

    return repository.catalog.add_base(
        name,
        digest=manifest.digest,
        manifest=stored,
        file=held.sha256,
        size=held.size,
        format=format,
        link=path.absolute() if link else None,
        replace=True,
        confirm=confirm,
    )


@dataclass(frozen=True)
class _Held:
    """What a base's file, or its folder's listing, is; `objects`: those that it takes in the store."""

    sha256: str
    size: int
    objects: tuple[str, ...]


def _held(checkpoint: Checkpoint, link: bool, repository: Repository, progress: Progress) -> _Held:
    """Left where it is, or copied into the store."""
    if link:
        return _Held(*source_of(checkpoint, repository.catalog, progress), objects=())
    if checkpoint.tree is None:
        size = checkpoint.path.stat().st_size
        file = repository.objects.put_file(
            checkpoint.path, Meter(progress, "copying", size).advance
        ).sha256
        return _Held(file, size, (file,))
    places = checkpoint.tree.places
    meter = Meter(progress, "copying", sum(place.stat().st_size for place in places.values()))
    stored = {
        path: repository.objects.put_file(place, meter.advance) for path, place in places.items()
    }
    listed = tuple(ListedFile(path, file.sha256, file.size) for path, file in stored.items())
    listing = repository.objects.put(listing_bytes(listed)).sha256
    size = sum(file.size for file in listed)
    return _Held(listing, size, (listing, *(file.sha256 for file in listed)))


def _check_free(name: str, digest: str, repository: Repository) -> None:
    """Before gigabytes are copied for nothing; the catalog checks it again."""
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
