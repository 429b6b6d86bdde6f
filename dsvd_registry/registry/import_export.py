"""A version as a file that travels: its container goes out as it is, and comes in when it is proven.

What comes in may be from anywhere. It is read strictly, its result is made once in memory over the
base that is here, and only then is anything of it stored: what `verify --deep` would find is an
error here. Signatures, and what makes it lossless, lie in files beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..catalog import BaseRecord, VersionRecord
from ..container.reader import Container
from ..container.records import Header, LowRankRecord
from ..encoding.request import BudgetRequest, ErrorRequest, Request, TauRequest
from ..errors import BaseMismatch, ContainerError
from ..fs import check_place
from ..progress import Meter, Progress
from ..signing import statement_of
from ..store import event_fields
from . import exported_residual
from .add import Addition, check_model
from .fingerprint import unchanging
from .labels import checked_labels, labelled
from .object_copies import copy_in, copy_out
from .repository import Repository
from .residuals import attach_residual
from .signing import attach, beside, read_beside, signatures_of, write_beside
from .summary import Summary, summary_of_open


@dataclass(frozen=True)
class Exported:
    """A container that was written as a file of its own. `sha256` is what names its object, too.

    `signatures` and `residual` are where these lie, None where it has none.
    """

    path: Path
    sha256: str
    size: int
    signatures: Path | None
    residual: Path | None


def export_container(
    version: VersionRecord,
    repository: Repository,
    output: Path,
    *,
    replace: bool,
    progress: Progress,
) -> Exported:
    """Write a copy of a version's container to `output`, hashed as it is copied; then
    what lies beside it.

    Raises `Conflict` if one of the files exists and `replace` is false, `InvalidArgument` for what is no
    plain file, `RegistryError` for a damaged object, `StorageError`; then nothing is left behind.
    """
    signatures = signatures_of(repository.catalog.signatures(version.ref), repository)
    for place in (output, beside(output), exported_residual.beside(output)):
        check_place(place, replace=replace)
    meter = Meter(progress, "copying", version.size)
    what = f"the container of {version.ref}"
    copy_out(version.container, what, repository.objects, output, meter, replace=replace)
    return Exported(
        output,
        version.container,
        version.size,
        write_beside(output, signatures, replace=replace),
        exported_residual.write_beside(version, repository, output, progress, replace=replace),
    )


def import_container(
    file: Path,
    model: str,
    note: str,
    tags: Iterable[str],
    repository: Repository,
    progress: Progress,
) -> Addition:
    """Store a container as the next version of `model`, or find it there already.

    Raises `ContainerError` for damage and for what breaks a rule of the format, `BaseMismatch` for a
    base that is not here or is damaged, `ResultMismatch`, `SignatureError`, `InvalidArgument`,
    `Conflict`, `StorageError`; then nothing is left behind.
    """
    check_model(model, repository)
    tags = checked_labels(tags, note)

    def taken_in(version: VersionRecord, *, created: bool) -> Addition:
        for signature in signatures:
            attach(version, signature, repository)
        if residual is not None:
            version = attach_residual(version, residual.record, repository)
        return Addition(labelled(version, note, tags, repository), created=created)

    with unchanging(file), Container(file) as container:
        header, size = container.header, container.size
        sha256 = container.check_file()
        signatures = read_beside(file, statement_of(header, sha256))
        known = _known(model, sha256, repository)
        base = _base_of(container, repository)
        residual = exported_residual.proven_beside(
            file, container, sha256, base, repository, progress
        )
        is_there = known is not None and repository.objects.is_whole(sha256)
        if not is_there:
            summary = summary_of_open(container, base, repository)
            _check_recordable(container, summary)
            _check_result(container, base, repository, progress)
            copy_in(file, sha256, repository.objects, Meter(progress, "copying", size))
        if residual is not None:
            residual.take_in(repository, progress)
    if known is not None:  # if its object was lost, that is back
        return taken_in(known, created=False)
    version = repository.catalog.add_version(
        model,
        container=sha256,
        size=size,
        base=base.digest,
        source=header.source,
        settings=_asked(header).settings(),
        summary=summary,
        note=note,
        confirm=lambda: repository.objects.path(sha256),
    )
    return taken_in(version, created=True)


def _known(model: str, sha256: str, repository: Repository) -> VersionRecord | None:
    """The newest version of the model that has this very container."""
    found = [
        version for version in repository.catalog.versions(model) if version.container == sha256
    ]
    return found[-1] if found else None


def _base_of(container: Container, repository: Repository) -> BaseRecord:
    header = container.header
    for base in repository.catalog.bases():
        if base.digest == header.base_digest:
            return base
    raise BaseMismatch(
        f"{container.path} needs the base {header.base_digest}, which was called "
        f"{header.base_name!r} where it was made; the registry has {repository.base_names()}",
        "Add that base with `dsvd base add NAME FILE`, then import again.",
    )


def _check_result(
    container: Container, base: BaseRecord, repository: Repository, progress: Progress
) -> None:
    # Only here are tensors needed, and torch with them.
    from ..reconstruction.recorded_digest import proven_by_digest

    with (
        repository.open_base(base) as weights,
        proven_by_digest(container, weights) as recorded,
    ):
        recorded.check(recorded.made.digests(progress))


def _check_recordable(container: Container, summary: Summary) -> None:
    """Raises `ContainerError` for what the format allows and the event log could not hold.

    The catalog would refuse it too, but only when the object is stored.
    """
    for kind, value in (
        (event_fields.Word, container.header.source.format),
        (event_fields.Summary, summary),
    ):
        _, check = get_args(kind)
        if not check.holds(value):
            raise ContainerError(f"{container.path}: {value!r} is not {check.what}")


def _asked(header: Header) -> Request:
    """What the container was made for, so that its source is recognised when it is added here."""
    encoding = header.encoding
    if encoding.fidelity is None:
        # It is not on record whether noise was to be kept. Where that changed nothing, the default.
        keeps_noise = any(
            isinstance(tensor, LowRankRecord) and tensor.rank > max(1, tensor.noise_rank)
            for tensor in header.tensors
        )
        return TauRequest(encoding.tau, encoding.grid_noise, keeps_noise)
    if encoding.fidelity.budget is not None:
        return BudgetRequest(encoding.fidelity.budget)
    assert encoding.fidelity.max_error is not None  # one of the two is there: checked on opening
    return ErrorRequest(encoding.fidelity.max_error)
