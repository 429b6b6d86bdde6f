"""Restoring: archived files are put back where they were, byte for byte, with times and permissions.

A file is written under a temporary name, compared with its SHA-256, and put in the place of our own
link or of nothing; then an event says so. Stopped anywhere, the same call goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Literal

from ... import fs
from ...catalog import ArchivedFile, VersionRecord
from ...errors import Conflict, DsvdError, InvalidArgument, NotFound, ResultMismatch
from ...hashing import sha256_file
from ...progress import FILES, Meter, Progress
from ...store import StoredObject
from ...store.objects import COPY_CHUNK
from ..adding.input_files import looks_like_a_file
from ..describing.beside import write_beside
from ..repository import Repository
from ..results.output import check_output
from ..results.result_pool import ResultPool
from ..upkeep.originals import given_back, open_given_back


@dataclass(frozen=True)
class RestoredFile:
    """The outcome of one file. `ref`: the version that gives it.

    `outcome`: "there" if the path had the file already. `is_exact`: False for what a lossy version
    gives in its place. `beside`: the preview and sidecars that were written beside it. `error`, `hint`,
    `exit_code`: why a file was refused.
    """

    path: Path
    ref: str
    outcome: Literal["restored", "there", "refused"]
    size: int = 0
    is_exact: bool = True
    beside: tuple[Path, ...] = ()
    error: str = ""
    hint: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class RestoredFiles:
    """The outcome of each file, by path."""

    files: tuple[RestoredFile, ...]

    @property
    def exit_code(self) -> int:
        """0 if no file was refused; otherwise the exit code of the first refusal."""
        return next((file.exit_code for file in self.files if file.exit_code), 0)


def restore(
    where: str | Path,
    output: str | Path | None,
    repository: Repository,
    pool: ResultPool,
    replace: bool,
    progress: Progress,
) -> RestoredFiles:
    """Put archived files back; see `Registry.restore`."""
    where = str(where)
    work = _Work(repository, pool, replace, progress)
    files = _archived_files(where, repository)
    if output is not None:
        check_output(Path(output), repository)
        place = Path(os.path.abspath(output))  # noqa: PTH100 - follows no link
        return RestoredFiles((work.to_another_path(where, files, place),))
    if not files:
        hint = "Give the path of an archived file or folder; -o PATH writes what a version gives."
        raise NotFound(f"no file of {where} is archived", hint)
    outcomes = []
    for number, file in enumerate(files):
        progress(FILES, number, len(files))
        try:
            outcomes.append(work.restored(file, file.path))
        except DsvdError as error:
            outcomes.append(_refused(file, error))
    progress(FILES, len(files), len(files))
    return RestoredFiles(tuple(outcomes))


def _archived_files(where: str, repository: Repository) -> list[ArchivedFile]:
    """The archived files at or below a path, or else those of the version that a ref means.

    Raises `NotFound` for a path without any, and for an unknown ref.
    """
    archived = repository.catalog.archived_files()
    place = Path(os.path.abspath(where))  # noqa: PTH100
    if found := [file for file in archived if place in (file.path, *file.path.parents)]:
        return found
    if looks_like_a_file(where) or place.exists():
        raise NotFound(
            f"nothing is archived at {place} or below it", "Give another path, or a ref."
        )
    ref = repository.catalog.version(where).ref
    return [file for file in archived if file.ref == ref]


def _refused(file: ArchivedFile, error: DsvdError) -> RestoredFile:
    code = error.exit_code
    return RestoredFile(
        file.path, file.ref, "refused", error=str(error), hint=error.hint, exit_code=code
    )


@dataclass(frozen=True)
class _Work:
    """The restoring of files. `replace`: files that are there and differ may be replaced."""

    repository: Repository
    pool: ResultPool
    replace: bool
    progress: Progress

    def to_another_path(self, where: str, files: list[ArchivedFile], place: Path) -> RestoredFile:
        """Restore one file at `place`; one that was not archived is only written.

        Raises `InvalidArgument` for several files, and as `restored`.
        """
        if len(files) > 1:
            raise InvalidArgument(
                f"{where} stands for {len(files)} archived files, and -o is for one",
                "Give the path of one of them.",
            )
        if files:
            return self.restored(files[0], place)
        version = self.repository.catalog.version(where)
        given = given_back(version, self.repository)
        is_there = self._is_at(place, given, None)
        if not is_there:
            self._write(version, given, place, None)
        return self._outcome(version, given, place, is_there=is_there)

    def restored(self, file: ArchivedFile, place: Path) -> RestoredFile:
        """Put a file at a place, which is its own path or another, and record it.

        Raises `Conflict` if another file is there and `replace` is false, and as `given_back`.
        """
        version = self.repository.catalog.version(file.ref)
        given = given_back(version, self.repository)
        is_there = self._is_at(place, given, file.link)
        if is_there:
            fs.set_status(place, file.mode, file.mtime_ns)
        else:
            fs.make_folder(place.parent)
            self._write(version, given, place, file)
        if place != file.path and _is_link(file.path, file.link):
            fs.remove_file(file.path)
        outcome = self._outcome(version, given, place, is_there=is_there)
        self.repository.catalog.restore_file(file.path)
        return outcome

    def _is_at(self, place: Path, given: StoredObject, link: Path | None) -> bool:
        """True if the file is at a place already, False if it may be written there.

        Raises `Conflict` for something else than nothing, our own link or the file itself; with
        `replace` only for a folder.
        """
        with fs.storage_errors(place):
            if not os.path.lexists(place) or _is_link(place, link):
                return False
            status = place.lstat()
        is_file = S_ISREG(status.st_mode)
        if is_file and status.st_size == given.size and sha256_file(place) == given.sha256:
            return True
        if not self.replace or place.is_dir():
            raise Conflict(
                f"{place} is another file than the one that was archived",
                "Move it away, restore to another path with -o, or use --force to replace it.",
            )
        return False

    def _write(
        self, version: VersionRecord, given: StoredObject, place: Path, file: ArchivedFile | None
    ) -> None:
        """Write the file that a version gives. Raises `ResultMismatch` if it has another SHA-256."""
        meter = Meter(self.progress, "restoring", given.size)
        digest = hashlib.sha256()
        with (
            open_given_back(version, self.repository, self.pool) as source,
            fs.new_file(place.parent, given.size) as written,
        ):
            while chunk := source.read(COPY_CHUNK):
                written.write(chunk)
                digest.update(chunk)
                meter.advance(len(chunk))
            if digest.hexdigest() != given.sha256:
                raise ResultMismatch(
                    f"{version.ref} gave other bytes than those recorded, and {place} was not written",
                    "`dsvd verify --deep` says what is damaged.",
                )
            if file is not None:
                written.set_status(file.mode, file.mtime_ns)
            is_ours = file is not None and _is_link(place, file.link)
            written.publish(place, replace=self.replace or is_ours)

    def _outcome(
        self, version: VersionRecord, given: StoredObject, place: Path, *, is_there: bool
    ) -> RestoredFile:
        """The outcome, after the preview and the sidecars were written that are not beside it."""
        attachments = self.repository.catalog.attachments(version.ref)
        return RestoredFile(
            place,
            version.ref,
            "there" if is_there else "restored",
            given.size,
            is_exact=given.sha256 == version.source.sha256,
            beside=write_beside(place, attachments, self.repository, replace=False),
        )


def _is_link(place: Path, link: Path | None) -> bool:
    """True if our own link is at a place."""
    with contextlib.suppress(OSError):
        return link is not None and place.is_symlink() and place.readlink() == link
    return False
