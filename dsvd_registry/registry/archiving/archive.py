"""Archiving: each file becomes a version, and is deleted once the version was seen to give it back.

For each file, in this order, each step durable before the next: the version; a deep check of it; the
file hashed once more; an event with all that restoring needs; the file deleted, or replaced by a link.
Stopped anywhere, the file is there or can be restored, and the same call goes on.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_IMODE, S_ISREG

from ... import fs
from ...catalog import ArchivedFile, VersionRecord
from ...errors import DamageFound, DsvdError, InvalidArgument, ResultMismatch, StorageError
from ...hashing import sha256_file
from ...progress import FILES, Meter, Progress
from ...store import StoredObject
from ..adding.add import add_version
from ..repository import Repository
from ..upkeep.originals import given_back
from ..upkeep.verify import verify_objects
from .archive_plan import ArchivePlan, PlannedFile, Staying

LORA_ENDINGS = (".safetensors", ".pt")
"""Those that a mount shows LoRA files with."""
SHOWN_SECONDS = 5.0
"""A mount shows a new version within about a second."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class ArchivedOriginal:
    """A file that was deleted. `ref`: the version that gives it back. `link`: what is in its place.

    `is_exact`: False if its bytes are lost, because the version is lossy.
    """

    path: Path
    ref: str
    size: int
    link: Path | None
    is_exact: bool


@dataclass(frozen=True)
class Archived:
    """The outcome of an archive. `stored_bytes`: those by which the registry grew.

    `not_reached`: the files that an interrupt prevented.
    """

    files: tuple[ArchivedOriginal, ...]
    staying: tuple[Staying, ...]
    stored_bytes: int
    not_reached: tuple[Path, ...] = ()

    @property
    def file_bytes(self) -> int:
        """Bytes of the deleted files."""
        return sum(file.size for file in self.files)

    @property
    def freed_bytes(self) -> int:
        """The room that was freed; negative if the registry needs more than the files took."""
        return self.file_bytes - self.stored_bytes

    @property
    def exit_code(self) -> int:
        """0 if nothing went wrong; otherwise the exit code of the first error."""
        return next((file.exit_code for file in self.staying if file.exit_code), 0)


class StoppedArchive(KeyboardInterrupt):
    """An interrupt of the work. `found`: the outcome until then, which stays."""

    def __init__(self, found: Archived) -> None:
        super().__init__()
        self.found = found


def archive(plan: ArchivePlan, repository: Repository, progress: Progress) -> Archived:
    """Add, check and delete the files of a plan; see `Registry.archive`."""
    before = {entry.sha256 for entry in repository.objects.all()}
    files: list[ArchivedOriginal] = []
    staying = list(plan.staying)

    def found(not_reached: tuple[Path, ...] = ()) -> Archived:
        new = (one for one in repository.objects.all() if one.sha256 not in before)
        return Archived(tuple(files), tuple(staying), sum(entry.size for entry in new), not_reached)

    for number, planned in enumerate(plan.files):
        progress(FILES, number, len(plan.files))
        try:
            files.append(_archived(planned, plan, repository, progress))
        except DsvdError as error:
            staying.append(Staying(planned.path, str(error), error.hint, error.exit_code))
        except KeyboardInterrupt as error:
            rest = tuple(file.path for file in plan.files[number:])
            raise StoppedArchive(found(rest)) from error
    progress(FILES, len(plan.files), len(plan.files))
    return found()


def _archived(
    planned: PlannedFile, plan: ArchivePlan, repository: Repository, progress: Progress
) -> ArchivedOriginal:
    """Archive one file. Raises `DsvdError` if it stays."""
    request = plan.request
    if planned.is_lora:  # a lossy version of it is no LoRA any more
        request = replace(request, lossless=True)
    base = repository.catalog.base(planned.base)
    version = add_version(planned.path, planned.model, base, request, repository, progress).version
    given = _checked(version, planned, repository, progress)
    link = None if plan.link_to is None else _link(version, planned, given, plan.link_to, progress)
    status = _seen_again(planned.path, version, progress)
    file = ArchivedFile(
        planned.path,
        version.model,
        version.number,
        status.st_mtime_ns,
        S_IMODE(status.st_mode),
        link,
    )
    repository.catalog.archive_file(
        file, confirm=lambda: repository.objects.require(*version.objects)
    )
    _delete(file, status, repository)
    return ArchivedOriginal(planned.path, version.ref, planned.size, link, planned.is_exact)


def _checked(
    version: VersionRecord, planned: PlannedFile, repository: Repository, progress: Progress
) -> StoredObject:
    """The file that the version gives back, after everything that gives it was checked.

    Raises `DamageFound`, `ResultMismatch` if it is not the file that is to be deleted.
    """
    given = given_back(version, repository)
    if planned.is_exact and given.sha256 != version.source.sha256:
        raise ResultMismatch(f"{planned.path} stays: {version.ref} would not give it back")
    base = repository.base_of(version)
    verified = verify_objects([version], [base], repository, deep=True, progress=progress)
    if not verified.is_well:
        raise DamageFound(
            f"{planned.path} stays: {verified.findings[0].problem}",
            "`dsvd verify --all --deep` shows all damage, with --repair it repairs.",
        )
    return given


def _link(
    version: VersionRecord,
    planned: PlannedFile,
    given: StoredObject,
    mount: Path,
    progress: Progress,
) -> Path:
    """The path of the mounted file, which was read: it has the bytes that the version gives back.

    Raises `InvalidArgument` if the mount does not show it soon, as one of another registry or with
    another tau does not. Raises `StorageError`.
    """
    names = [mount / "checkpoints" / f"{version.ref}.safetensors"]
    if planned.is_lora:
        names = [mount / "loras" / f"{version.ref}{ending}" for ending in LORA_ENDINGS]
    deadline = time.monotonic() + SHOWN_SECONDS
    while True:
        for name in names:
            meter = Meter(progress, "reading the mounted file", given.size)
            if _size(name) == given.size and sha256_file(name, meter.advance) == given.sha256:
                return name
        if time.monotonic() > deadline:
            raise InvalidArgument(
                f"{planned.path} stays: the mount does not show {names[0]} with the bytes that "
                f"{version.ref} gives back",
                "Mount this registry there, without --tau and --dtype, or leave --link-to out.",
            )
        time.sleep(POLL_SECONDS)


def _size(path: Path) -> int | None:
    """The size of a file in bytes; None if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _seen_again(path: Path, version: VersionRecord, progress: Progress) -> os.stat_result:
    """The status of a file that still is the source of the version: all of it is read for that.

    Raises `StorageError` if it was changed since it was added.
    """
    with fs.storage_errors(path):
        before = path.lstat()
        meter = Meter(progress, "reading it again", before.st_size)
        digest = sha256_file(path, meter.advance)
        is_same = _identity(path.lstat()) == _identity(before)
    if not is_same or digest != version.source.sha256:
        raise _changed(path)
    return before


def _delete(file: ArchivedFile, status: os.stat_result, repository: Repository) -> None:
    """Delete a file, or replace it by its link. Raises `StorageError`, also if it was changed."""
    if _identity_now(file.path) != _identity(status):
        repository.catalog.restore_file(file.path)
        raise _changed(file.path)
    if file.link is None:
        fs.remove_file(file.path)
    else:
        fs.replace_by_link(file.path, file.link)


def _changed(path: Path) -> StorageError:
    return StorageError(
        f"{path} stays: it was changed while it was archived", "Run it again when it is complete."
    )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """The figures that change when a file is replaced or written; no program can set back the last."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_nlink,
        status.st_ctime_ns,
    )


def _identity_now(path: Path) -> tuple[int, ...] | None:
    """The identity of the plain file at a path; None without one."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return _identity(status) if S_ISREG(status.st_mode) else None
