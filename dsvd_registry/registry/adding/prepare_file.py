"""One file of many: prepared in this process or in another one, and its outcome after the commit."""

from __future__ import annotations

from dataclasses import dataclass

from ...container.reader import Container
from ...container.records import Omission
from ...errors import DsvdError
from ...progress import Progress
from ..accounts.report import report
from ..repository import Repository
from .add_request import AddRequest
from .best_base import BaseMatch, best_base
from .commit import Addition, PreparedAddition
from .file_outcomes import AddedFile, Outcome, refused, unforeseen
from .model_names import NamedFile
from .prepare import prepare


@dataclass(frozen=True)
class PreparedFile:
    """A file whose addition is prepared, and what its outcome says besides. The fields are as in
    `AddedFile`.
    """

    file: NamedFile
    addition: PreparedAddition
    base: str
    given_back: bool
    match: BaseMatch | None
    warnings: tuple[str, ...]
    left_out: tuple[Omission, ...]


def prepare_file(
    file: NamedFile, request: AddRequest, repository: Repository, progress: Progress
) -> PreparedFile | AddedFile:
    """Prepare a file; gives its outcome at once if it is refused."""
    try:
        return _prepared(file, request, repository, progress)
    except DsvdError as error:
        return refused(file.path, error)
    except Exception as error:  # even a bug must not keep the other files from being added
        return unforeseen(file.path, error)


def added_file(prepared: PreparedFile, addition: Addition | DsvdError) -> AddedFile:
    """The outcome of a file after its addition was committed, or refused."""
    file = prepared.file
    if isinstance(addition, DsvdError):
        return refused(file.path, addition)
    version = addition.version
    return AddedFile(
        file.path,
        outcome=outcome_of(addition),
        ref=version.ref,
        base=prepared.base,
        container=version.container,
        source_bytes=version.source.size,
        stored_bytes=version.stored_size,
        given_back=prepared.given_back,
        match=prepared.match,
        warnings=prepared.warnings,
        left_out=prepared.left_out,
        own_name=file.own_name if file.is_renamed else None,
        taken_in=addition.taken_in,
    )


def outcome_of(addition: Addition) -> Outcome:
    """The outcome of an addition in one word."""
    if addition.created:
        return "added"
    return "upgraded" if addition.upgraded else "there"


def _prepared(
    file: NamedFile, request: AddRequest, repository: Repository, progress: Progress
) -> PreparedFile:
    path, base, match = file.path, request.base, None
    if base is None:
        match = best_base(path, repository.catalog.bases(), repository, request.weights)
        base = repository.catalog.base(match.sure())
    addition = prepare(path, file.model, base, request, repository, progress)
    with Container(repository.objects.open(addition.container)) as container:
        header = container.header
        account = report(container, (t.name for t in repository.manifest(base).tensors))
    keeps_all = header.keeps_source or (addition.has_residual and header.keeps_files)
    return PreparedFile(
        file,
        addition,
        base.name,
        given_back=addition.has_original or (keeps_all and not addition.left_out),
        match=match,
        warnings=account.warnings,
        left_out=account.also_left_out(addition.left_out).left_out,
    )
