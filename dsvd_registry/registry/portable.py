"""A version as a file that travels: its container goes out as it is, and comes in when it is proven.

What comes in may be from anywhere. It is read strictly, its result is made once in memory over the
base that is here, and only then is anything of it stored: what `verify --deep` would find is an
error here. Signatures lie in a second file beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..catalog import Source as CatalogSource
from ..container.reader import Container
from ..container.records import Header, LowRankRecord
from ..encoding.asked import Asked, ByBudget, ByError, ByTau
from ..errors import BaseMismatch, ContainerError, RegistryError, StorageError
from ..fs import Bytes, check_place, new_file, storage_errors
from ..progress import Meter, Progress
from ..signing import Signature, statement_of
from ..store import ObjectStore, fields
from ..store.objects import COPY_CHUNK
from .adding import Addition, check_model, checked_labels, labelled
from .identity import unchanging
from .opening import open_base
from .signed import attach, beside, read_beside, write_beside
from .summary import Summary, summary_of_open


@dataclass(frozen=True)
class Exported:
    """A container that was written as a file of its own. `sha256` is what names its object, too.

    `signatures` is where its signatures lie, None where it has none.
    """

    path: Path
    sha256: str
    size: int
    signatures: Path | None


def export_container(
    version: VersionRecord,
    signatures: Sequence[Signature],
    objects: ObjectStore,
    output: Path,
    *,
    replace: bool,
    progress: Progress,
) -> Exported:
    """Write a copy of a version's container to `output`, hashed as it is copied; then its signatures.

    Raises `Conflict` if one of the files exists and `replace` is false, `InvalidArgument` for what is no
    plain file, `RegistryError` for a damaged object, `StorageError`; then nothing is left behind.
    """
    stored = objects.path(version.container)
    check_place(output, replace=replace)
    check_place(beside(output), replace=replace)
    meter = Meter(progress, "copying", version.size)
    with new_file(output.parent) as file:
        found = _copy(stored, file.write, meter)
        if found != version.container:
            raise RegistryError(
                f"object {version.container}, the container of {version.ref}, is damaged: "
                f"its bytes have the SHA-256 {found}",
                "Restore it from a copy, or add its source again.",
            )
        file.publish(output, replace=replace)
    return Exported(output, found, version.size, write_beside(output, signatures, replace=replace))


def import_container(
    file: Path,
    model: str,
    note: str,
    tags: Iterable[str],
    catalog: Catalog,
    objects: ObjectStore,
    progress: Progress,
) -> Addition:
    """Store a container as the next version of `model`, or find it there already.

    Raises `ContainerError` for damage and for what breaks a rule of the format, `BaseMismatch` for a
    base that is not here or is damaged, `ResultMismatch`, `SignatureError`, `InvalidArgument`,
    `Conflict`, `StorageError`; then nothing is left behind.
    """
    check_model(model, catalog)
    tags = checked_labels(tags, note)

    def taken_in(version: VersionRecord, *, created: bool) -> Addition:
        for signature in signatures:
            attach(version, signature, catalog, objects)
        return Addition(labelled(version, note, tags, catalog), created=created)

    with unchanging(file), Container(file) as container:
        header, size = container.header, container.size
        sha256 = container.check_file()
        signatures = read_beside(file, statement_of(header, sha256))
        known = _known(model, sha256, catalog)
        if known is not None and objects.is_whole(sha256):
            return taken_in(known, created=False)
        base = _base_of(container, catalog)
        summary = summary_of_open(container, base, objects)
        _check_recordable(container, summary)
        _check_result(container, base, objects, progress)
        _store(file, sha256, size, objects, progress)
    if known is not None:  # its object was lost, and is back
        return taken_in(known, created=False)
    source = header.source
    version = catalog.add_version(
        model,
        container=sha256,
        size=size,
        base=base.digest,
        source=CatalogSource(source.format, source.sha256, source.size),
        settings=_asked(header).settings(),
        summary=summary,
        note=note,
        confirm=lambda: objects.path(sha256),
    )
    return taken_in(version, created=True)


def _known(model: str, sha256: str, catalog: Catalog) -> VersionRecord | None:
    """The newest version of the model that has this very container."""
    found = [version for version in catalog.versions(model) if version.container == sha256]
    return found[-1] if found else None


def _base_of(container: Container, catalog: Catalog) -> BaseRecord:
    header = container.header
    there = catalog.bases()
    for base in there:
        if base.digest == header.base_digest:
            return base
    names = ", ".join(f"{base.name} ({base.digest})" for base in there) or "none"
    raise BaseMismatch(
        f"{container.path} needs the base {header.base_digest}, which was called "
        f"{header.base_name!r} where it was made; the registry has {names}",
        "Add that base with `dsvd base add NAME FILE`, then import again.",
    )


def _check_result(
    container: Container, base: BaseRecord, objects: ObjectStore, progress: Progress
) -> None:
    # Only here are tensors needed, and torch with them.
    from ..reconstruction.proving import check_recorded, proven_by_digest

    with (
        open_base(base, objects) as weights,
        proven_by_digest(container, weights) as reconstruction,
    ):
        check_recorded(container, reconstruction.digests(progress))


def _check_recordable(container: Container, summary: Summary) -> None:
    """Raises `ContainerError` for what the format allows and the event log could not hold.

    The catalog would refuse it too, but only when the object is stored.
    """
    for kind, value in (
        (fields.Word, container.header.source.format),
        (fields.Summary, summary),
    ):
        _, check = get_args(kind)
        if not check.holds(value):
            raise ContainerError(f"{container.path}: {value!r} is not {check.what}")


def _asked(header: Header) -> Asked:
    """What the container was made for, so that its source is recognised when it is added here."""
    encoding = header.encoding
    if encoding.fidelity is None:
        # It is not on record whether noise was to be kept. Where that changed nothing, the default.
        keeps_noise = any(
            isinstance(tensor, LowRankRecord) and tensor.rank > max(1, tensor.noise_rank)
            for tensor in header.tensors
        )
        return ByTau(encoding.tau, encoding.grid_noise, keeps_noise)
    if encoding.fidelity.budget is not None:
        return ByBudget(encoding.fidelity.budget)
    assert encoding.fidelity.max_error is not None  # one of the two is there: checked on opening
    return ByError(encoding.fidelity.max_error)


def _store(file: Path, sha256: str, size: int, objects: ObjectStore, progress: Progress) -> None:
    """Put the file into the store, if its bytes are still those that were checked."""
    with objects.new_object() as writer:
        if _copy(file, writer.write, Meter(progress, "copying", size)) != sha256:
            raise StorageError(
                f"{file} was changed while it was read", "Run it again when the file is complete."
            )
        writer.commit()


def _copy(file: Path, write: Callable[[Bytes], None], meter: Meter) -> str:
    """Hand all bytes of a file on; gives their SHA-256."""
    digest = hashlib.sha256()
    with storage_errors(file), file.open("rb") as opened:
        while chunk := opened.read(COPY_CHUNK):
            write(chunk)
            digest.update(chunk)
            meter.advance(len(chunk))
    return digest.hexdigest()
