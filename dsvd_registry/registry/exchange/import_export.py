"""Export of a version as a container file, and import of such a file.

An imported file may come from anywhere. It is read strictly, and its result is made once in memory
from the base in this registry before anything is stored: a problem that `verify --deep` would find is
an error here. Signatures, the residual, the original and the description are separate files in the
same folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ...catalog import BaseRecord, VersionRecord
from ...container.reader import Container
from ...container.records import LORA_FORMAT, Header, LowRankRecord
from ...container.totals import Summary, summary_of
from ...encoding.request import BudgetRequest, ErrorRequest, Request, TauRequest
from ...errors import BaseMismatch, ContainerError
from ...fs import check_place
from ...hashing import all_digests_of_file
from ...progress import Meter, Progress
from ...signing import statement_of
from ...store import event_fields
from ..adding.add import check_model
from ..adding.add_request import checked_labels, labelled
from ..adding.commit import Addition
from ..adding.fingerprint import unchanging
from ..describing.description_file import description_path, export_description, read_description
from ..describing.taken_in import NOTHING
from ..merge_options import with_recipe
from ..repository import Repository
from ..results.output import check_kind, check_output
from ..results.result_listing import remember_files
from ..signing import (
    attach_signature,
    export_signatures,
    read_signature_file,
    signature_path,
    signatures_of,
)
from ..upkeep.originals import export_original, keep_original, original_path, read_original_file
from ..upkeep.residuals import attach_residual
from . import exported_residual
from .object_copies import copy_in, copy_out


@dataclass(frozen=True)
class Exported:
    """A container file that was written. `sha256` also names its object in the store.

    `signatures`, `residual`, `original` and `description` are the paths of these files, None if the
    version has none.
    """

    path: Path
    sha256: str
    size: int
    signatures: Path | None
    residual: Path | None
    original: Path | None
    description: Path | None


def export_container(
    version: VersionRecord,
    repository: Repository,
    output: Path,
    *,
    replace: bool,
    progress: Progress,
) -> Exported:
    """Write a copy of a version's container to `output`, then the files beside it.

    The container is hashed as it is copied. Raises `Conflict` if one of the files exists and `replace`
    is false, `InvalidArgument` for a path that is not a plain file or has another kind of ending,
    `RegistryError` for a damaged object, `StorageError`; then no file is left behind.
    """
    check_output(output, repository)
    check_kind(output, "a .dsvd file")
    signatures = signatures_of(repository.catalog.signatures(version.ref), repository)
    residual, original = exported_residual.residual_path(output), original_path(output)
    beside = (signature_path(output), residual, original, description_path(output))
    for place in (output, *beside):
        check_place(place, replace=replace)
    meter = Meter(progress, "copying", version.size)
    description = f"the container of {version.ref}"
    copy_out(version.container, description, repository.objects, output, meter, replace=replace)
    return Exported(
        output,
        version.container,
        version.size,
        export_signatures(output, signatures, replace=replace),
        exported_residual.export_residual(version, repository, output, progress, replace=replace),
        export_original(version, repository, output, progress, replace=replace),
        export_description(version, repository, output, replace=replace),
    )


def import_container(
    file: Path,
    model: str,
    note: str,
    tags: Iterable[str],
    repository: Repository,
    progress: Progress,
) -> Addition:
    """Store a container file as the next version of `model`, or find the version that has it.

    Raises `ContainerError` for damage or a broken rule of the format, `BaseMismatch` if the base is
    missing or damaged, `ResultMismatch`, `SignatureError`, `InvalidArgument`, `Conflict`,
    `StorageError`; then nothing is left behind.
    """
    check_model(model, repository)
    tags = checked_labels(tags, note)

    def completed(version: VersionRecord, *, created: bool) -> Addition:
        for signature in signatures:
            attach_signature(version, signature, repository)
        if residual is not None:
            version = attach_residual(version, residual.record, repository)
        if original is not None:
            version = keep_original(version, original, repository, progress)
        remember_files(version, header, repository)
        version = labelled(version, note, tags, repository)
        taken_in = NOTHING if described is None else described.give_to(version, repository)
        return Addition(version, created=created, taken_in=taken_in)

    with unchanging(file), Container(file) as container:
        header, size = container.header, container.size
        sha256 = container.check_file()
        signatures = read_signature_file(file, statement_of(header, sha256))
        described = read_description(file, sha256)
        known = _known(model, sha256, repository)
        is_lora = header.source.format == LORA_FORMAT
        original = read_original_file(file, header.source) if is_lora else None
        base = _base_of(container, repository)
        residual = exported_residual.read_residual_file(
            file, container, sha256, base, repository, progress
        )
        if known is None or not repository.objects.is_whole(sha256):
            summary = summary_of(container.header)
            _check_recordable(container, summary)
            result_digests = _checked_result(container, base, repository, progress)
            copy_in(file, sha256, repository.objects, Meter(progress, "copying", size))
        if residual is not None:
            residual.store(repository, progress)
    if known is not None:
        return completed(known, created=False)
    source_digests = residual.source_digests if residual is not None else {}
    if original is not None:
        source_digests = {"": all_digests_of_file(original)}
    version = repository.catalog.add_version(
        model,
        container=sha256,
        size=size,
        base=base.digest,
        source=header.source,
        settings=_settings_of(header),
        summary=summary,
        note=note,
        tags=tags,
        digests={"source": source_digests, "result": result_digests},
        confirm=lambda: repository.objects.require(sha256),
    )
    return completed(version, created=True)


def _known(model: str, sha256: str, repository: Repository) -> VersionRecord | None:
    """The newest version of the model that has this container."""
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
        f"{container.name} needs the base {header.base_digest}, which was called "
        f"{header.base_name!r} where it was made; the registry has {repository.base_names()}",
        "Add that base with `dsvd base add NAME FILE`, then import again.",
    )


def _checked_result(
    container: Container, base: BaseRecord, repository: Repository, progress: Progress
) -> Mapping[str, Mapping[str, str]]:
    """The digests of the result's files, by path and kind, after a comparison with the recorded ones."""
    from ...reconstruction.recorded_digest import kinds_by_path, proven_by_digest

    with (
        repository.open_base(base) as weights,
        proven_by_digest(container, weights) as recorded,
    ):
        digests = recorded.made.digests(progress)
        recorded.check(digests)
    return kinds_by_path(container.header, digests)


def _check_recordable(container: Container, summary: Summary) -> None:
    """Raise `ContainerError` for a value that the format allows but an event cannot have.

    The catalog would refuse it too, but only after the object is stored.
    """
    for kind, value in (
        (event_fields.Word, container.header.source.format),
        (event_fields.Summary, summary),
        (event_fields.Settings, _settings_of(container.header)),
    ):
        _, check = get_args(kind)
        if not check.accepts(value):
            raise ContainerError(f"{container.name}: {value!r} is not {check.expected}")


def _settings_of(header: Header) -> str:
    """The settings of the version, with the recipe of a merge."""
    return with_recipe(_request_of(header).settings(), header.merge)


def _request_of(header: Header) -> Request:
    """The request that the container was made by, so that `add` recognises its source later."""
    encoding = header.encoding
    if encoding.budget is not None:
        return BudgetRequest(encoding.budget)
    if encoding.max_error is not None:
        return ErrorRequest(encoding.max_error)
    # The header does not record `keep_noise`; it is read from the ranks, where it had an effect.
    keeps_noise = any(
        isinstance(tensor, LowRankRecord) and tensor.rank > max(1, tensor.noise_rank)
        for tensor in header.tensors
    )
    return TauRequest(encoding.tau, encoding.grid_noise, keeps_noise)
