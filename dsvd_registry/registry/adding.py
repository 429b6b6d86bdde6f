"""A checkpoint comes in: as a base, or as a version that is recognised or encoded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..catalog import Source as CatalogSource
from ..checkpoint import Checkpoint, open_checkpoint
from ..checkpoint.listing import listing_bytes
from ..checkpoint.tree import ListedFile
from ..container.records import Source
from ..encoding.asked import Asked, ForLossless
from ..encoding.asked_of_lora import SOURCE_FORMAT, AskedOfLora
from ..errors import Conflict, InvalidArgument
from ..fs import storage_errors
from ..lora import is_lora
from ..progress import Meter, Progress
from ..store import ObjectStore, names
from ..store.fields import MAX_TEXT
from .identity import fingerprint_checkpoint, source_of, unchanging
from .lossless import attach_residual, residual_of
from .many_files import own_name
from .opening import open_base
from .summary import Summary, summary_of


@dataclass(frozen=True)
class Addition:
    """What `add` did: `created` is False where the version was there already.

    `upgraded`: it was there, lossy, and is lossless now. `is_all`: nothing of the path that was given
    is left out.
    """

    version: VersionRecord
    created: bool
    upgraded: bool = False
    is_all: bool = True

    @property
    def ref(self) -> str:
        return self.version.ref


def add_base(
    path: Path,
    name: str,
    link: bool,
    catalog: Catalog,
    objects: ObjectStore,
    progress: Progress,
    *,
    keep_extras: bool = False,
) -> BaseRecord:
    """Register a checkpoint as a base: a copy of it, or with `link` the file where it lies."""
    names.check_name("base", name)
    if link and keep_extras:
        raise InvalidArgument(
            "a base that is linked stays where it is, with all that lies beside it",
            "Leave keep_extras out, or link.",
        )
    with (
        unchanging(path, keep_extras=keep_extras),
        open_checkpoint(path, keep_extras=keep_extras) as checkpoint,
    ):
        manifest = fingerprint_checkpoint(checkpoint, progress)
        _check_free(name, manifest.digest, catalog)
        held = _held(checkpoint, link, catalog, objects, progress)
        format = checkpoint.format
    stored = objects.put(manifest.to_bytes()).sha256

    def confirm() -> None:
        for sha256 in (stored, *held.objects):
            objects.path(sha256)

    return catalog.add_base(
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


def _held(
    checkpoint: Checkpoint, link: bool, catalog: Catalog, objects: ObjectStore, progress: Progress
) -> _Held:
    """Left where it is, or copied into the store."""
    if link:
        return _Held(*source_of(checkpoint, catalog, progress), objects=())
    if checkpoint.tree is None:
        size = checkpoint.path.stat().st_size
        file = objects.put_file(checkpoint.path, Meter(progress, "copying", size).advance).sha256
        return _Held(file, size, (file,))
    places = checkpoint.tree.places
    meter = Meter(progress, "copying", sum(place.stat().st_size for place in places.values()))
    stored = {path: objects.put_file(place, meter.advance) for path, place in places.items()}
    listed = tuple(ListedFile(path, file.sha256, file.size) for path, file in stored.items())
    listing = objects.put(listing_bytes(listed)).sha256
    size = sum(file.size for file in listed)
    return _Held(listing, size, (listing, *(file.sha256 for file in listed)))


def add_version(
    path: Path,
    model: str,
    base: BaseRecord,
    asked: Asked,
    device: str,
    note: str,
    tags: Iterable[str],
    catalog: Catalog,
    objects: ObjectStore,
    progress: Progress,
    *,
    lossless: bool = False,
    skip_unsupported: bool = False,
    keep_extras: bool = False,
) -> Addition:
    """Store the checkpoint `path` as the next version of `model`, or find it there already.

    The same source, base and settings are recognised without computing anything; under another
    model's name they share its container. A LoRA file stands for the base with it merged in.

    With `lossless` the version has a residual, too; one that was there without gets it.
    """
    check_model(model, catalog)
    tags = checked_labels(tags, note)
    if device != "cpu":
        from ..codec.devices import check_device

        check_device(device)
    with (
        unchanging(path, keep_extras=keep_extras) as check_unchanged,
        open_checkpoint(path, keep_extras=keep_extras) as checkpoint,
    ):
        wish: Asked | AskedOfLora = asked
        if is_lora(checkpoint.tensors):
            if lossless:
                raise InvalidArgument(
                    f"{path} is a LoRA file, which stands for weights that are in no file",
                    "Leave lossless out: what is stored of it by default is all of it.",
                )
            if checkpoint.tree is not None and checkpoint.tree.extras:
                raise InvalidArgument(
                    f"{path} is a LoRA's folder, of which the layers alone are stored",
                    "Leave keep_extras out.",
                )
            wish = AskedOfLora.of(checkpoint, asked, skip_unsupported)
        settings = wish.settings()
        format = SOURCE_FORMAT if isinstance(wish, AskedOfLora) else checkpoint.format
        digest, size = source_of(checkpoint, catalog, progress)
        source = Source(format, digest, size)
        known = _known(digest, base, wish, model, catalog)
        if known is not None and objects.is_whole(known.container):
            version, created = known, False
        else:
            container, size, summary = _stored(
                checkpoint, source, base, wish, device, catalog, objects, progress
            )
            check_unchanged()
            if known is not None and known.container == container:  # it was lost, and is back
                version, created = known, False
            else:
                created = True
                version = catalog.add_version(
                    model,
                    container=container,
                    size=size,
                    base=base.digest,
                    source=CatalogSource(source.format, source.sha256, source.size),
                    settings=settings,
                    summary=summary,
                    note=note,
                    confirm=lambda: objects.path(container),
                )
        upgraded = lossless and not created and version.residual is None
        if lossless:
            residual = residual_of(version, checkpoint, base, device, catalog, objects, progress)
            check_unchanged()
            version = attach_residual(version, residual, catalog, objects)
        is_all = not checkpoint.left_out
    return Addition(labelled(version, note, tags, catalog), created, upgraded, is_all)


def _known(
    source: str, base: BaseRecord, wish: Asked | AskedOfLora, model: str, catalog: Catalog
) -> VersionRecord | None:
    """The newest version of the model that is this source, stored as it is wished.

    Who wants it lossless and asks for no fidelity has it in any version of the source.
    """
    settings = None if isinstance(wish, ForLossless) else wish.settings()
    return catalog.find_version(source, base.digest, settings, model)


def _stored(
    checkpoint: Checkpoint,
    source: Source,
    base: BaseRecord,
    wish: Asked | AskedOfLora,
    device: str,
    catalog: Catalog,
    objects: ObjectStore,
    progress: Progress,
) -> tuple[str, int, Summary]:
    """SHA-256, size and figures of a container: a new one, or that of another model."""
    twin = catalog.find_version(source.sha256, base.digest, wish.settings())
    if twin is not None and objects.is_whole(twin.container):
        return twin.container, twin.size, dict(twin.summary)
    container, size = _encode(checkpoint, source, base, wish, device, objects, progress)
    return container, size, summary_of(container, base, objects)


def name_of(path: Path) -> str:
    """The model's name where none is given: the path's own.

    Raises `InvalidArgument`, and `StorageError` where nothing is there.
    """
    try:
        return names.check_name("model", own_name(path))
    except InvalidArgument as error:
        with contextlib.suppress(ValueError), storage_errors(path):
            path.stat()  # of a pattern that matched no file, the name is not what is wrong
        raise InvalidArgument(str(error), "Give the model another name with --name.") from error


def _encode(
    checkpoint: Checkpoint,
    source: Source,
    base: BaseRecord,
    wish: Asked | AskedOfLora,
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> tuple[str, int]:
    """SHA-256 and size of a new container."""
    # Tensors are needed only from here on, and torch with them.
    from ..encoding.fine import Fine
    from ..encoding.storing import store_fine_tune
    from ..encoding.storing_lora import store_lora

    with open_base(base, objects) as weights:
        if isinstance(wish, AskedOfLora):
            stored = store_lora(checkpoint, source, weights, wish, device, objects, progress)
        else:
            fine = Fine.of(checkpoint, source, weights)
            stored = store_fine_tune(fine, wish, device, objects, progress)
    return stored.sha256, stored.size


def labelled(
    version: VersionRecord, note: str, tags: Iterable[str], catalog: Catalog
) -> VersionRecord:
    """The version with these labels, whether it is new or was recognised."""
    if note and note != version.note:
        version = catalog.set_note(version.model, version.number, note)
    for tag in tags:
        version = catalog.add_tag(version.model, version.number, tag)
    return version


def checked_labels(tags: Iterable[str], note: str) -> list[str]:
    """Tags without repeats. Raises `InvalidArgument`, `Conflict` before anything is computed."""
    if len(note) > MAX_TEXT:
        raise InvalidArgument(f"the note has {len(note)} characters, more than {MAX_TEXT}")
    found = {names.check_name("tag", tag): names.folded(tag) for tag in tags}
    if len(set(found.values())) < len(found):
        raise Conflict("two of the tags differ in case alone", "Give one of them.")
    return list(found)


def check_model(name: str, catalog: Catalog) -> None:
    """Before minutes are spent for nothing; the catalog checks it again."""
    names.check_name("model", name)
    for model in catalog.models():
        if names.folded(model.name) == names.folded(name) and model.name != name:
            raise Conflict(
                f"there is a model {model.name}, which differs from {name} in case alone",
                f"Use --name {model.name}, or another name.",
            )


def _check_free(name: str, digest: str, catalog: Catalog) -> None:
    """Before gigabytes are copied for nothing; the catalog checks it again."""
    for base in catalog.bases():
        if names.folded(base.name) == names.folded(name) and base.digest != digest:
            raise Conflict(
                f"the base name {base.name} is taken, and holds other weights",
                "Choose another name.",
            )
        if base.name != name and base.digest == digest:
            raise Conflict(
                f"these weights are the base {base.name} already", f"Use --base {base.name}."
            )
