"""The class `Catalog`: every write of names and versions, each in a transaction of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ..errors import DsvdError, InvalidArgument
from ..store import EventLog, Home, ObjectsCondemned
from . import (
    additions,
    bucket_snapshots,
    caches,
    edits,
    label_edits,
    metadata_edits,
    queries,
    receiving,
    snapshot,
)
from .attempts import tried_again
from .connect import connect
from .errors import LostConnection, database_errors
from .ledger import Ledger, Transaction
from .migrate import upgrade
from .prepared import PreparedVersion, RecordedVersion
from .reader import CatalogReader
from .records import (
    ArchivedFile,
    AttachmentRecord,
    BaseRecord,
    CachedFingerprint,
    FileState,
    RecordedDigests,
    Source,
    VersionRecord,
)
from .snapshot import SnapshotDatabase
from .sqlite import copy_sqlite
from .whole_versions import WholeVersion

_Arguments = ParamSpec("_Arguments")
_Record = TypeVar("_Record")


def _nothing() -> None:
    pass


def _after(
    confirm: Callable[[], object], edit: Callable[Concatenate[Transaction, _Arguments], _Record]
) -> Callable[Concatenate[Transaction, _Arguments], _Record]:
    """The edit, each attempt of which calls `confirm` first."""

    def confirmed(
        transaction: Transaction, /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Record:
        confirm()
        return edit(transaction, *arguments, **named)

    return confirmed


class Catalog(CatalogReader):
    """The open catalog of one registry. It may be used from several threads.

    Besides the errors of `CatalogReader`, writes raise `InvalidArgument` for a name or value that
    breaks a rule. A write is durable when its method returns.
    """

    @classmethod
    def open(cls, home: Home, url: str | None = None) -> Catalog:
        """Open the catalog of a registry, in its folder or at `url`.

        Tables are made or upgraded if needed, and missing events are applied. If the folder is
        read-only and no `url` is given, all of that happens in memory.
        """
        has_snapshots = url is None and home.has_many_clients
        if has_snapshots:
            bucket_snapshots.begin_with_one(home)
        may_write = url is not None or snapshot.may_write(home)
        database = connect(home.catalog, url) if may_write else SnapshotDatabase.of(home)
        after_event = partial(bucket_snapshots.keep_if_due, home) if has_snapshots else None
        try:
            tried_again(lambda: upgrade(database, home.tmp), LostConnection)
            ledger = Ledger(database, EventLog(home), may_write, after_event)
            ledger.catch_up()
        except BaseException:
            database.close()
            raise
        return cls(ledger)

    def backup(self, copy: Path, *, replace: bool) -> None:
        """Copy the database, while it is in use, to the file `copy`.

        Raises `Conflict` if `copy` exists and `replace` is false, `InvalidArgument` for a database
        that is not a file.
        """
        self._ledger.check_may_write()
        path = self._database.path
        if path is None:
            raise InvalidArgument(
                f"{self._database.where} is not a file and cannot be copied",
                "Use the backup tools of that database.",
            )
        with database_errors(self._database.where):
            copy_sqlite(path, copy, copy.parent, replace=replace)

    def add_base(
        self,
        name: str,
        *,
        digest: str,
        manifest: str,
        file: str,
        size: int,
        format: str,
        link: Path | None = None,
        replace: bool = False,
        confirm: Callable[[], object] = _nothing,
    ) -> BaseRecord:
        """Add a base. If it exists with this name, its record is returned; with `replace`, its
        manifest, file and link are replaced first.

        `confirm`: as in `add_version`.
        Raises `Conflict` for a name that has other weights, or weights that have another name.
        """
        return self._ledger.write(
            _after(confirm, edits.add_base),
            name,
            digest=digest,
            manifest=manifest,
            file=file,
            size=size,
            format=format,
            link=None if link is None else str(link),
            replace=replace,
        )

    def remove_base(self, name: str) -> BaseRecord:
        """Remove a base. Raises `NotFound`, `Conflict` if a live version needs it."""
        return self._ledger.write(edits.remove_base, name)

    def add_version(
        self,
        model: str,
        *,
        container: str,
        size: int,
        base: str,
        source: Source,
        settings: str,
        summary: Mapping[str, int | float | str],
        note: str = "",
        tags: Iterable[str] = (),
        digests: RecordedDigests | None = None,
        confirm: Callable[[], object] = _nothing,
    ) -> VersionRecord:
        """Add the next version of a model, new or not; `container` must be in the store already.

        `tags`: those that it has from the beginning. `digests`: of the files of its source and of its
        result; no more than 1,024 files of each are recorded.

        `confirm` is called while no other process can write. It raises an error if an object is gone,
        which garbage collection may have removed a moment ago.

        Raises `NotFound` if no base has the weights digest `base`, `Conflict` for a model's name
        that differs from another in case alone.
        """
        labels = tuple(tags)

        def edit(transaction: Transaction) -> VersionRecord:
            confirm()
            version = edits.add_version(
                transaction,
                model,
                container=container,
                size=size,
                base=base,
                source=source,
                settings=settings,
                summary=summary,
                note=note,
                digests=digests or {},
            )
            return label_edits.set_labels(transaction, model, version.number, "", labels)

        return self._ledger.write(edit)

    def add_prepared(
        self, prepared: Sequence[PreparedVersion], confirm: additions.Confirm
    ) -> list[RecordedVersion | DsvdError]:
        """Record additions, each of them whole or not at all, in one event.

        Gives the outcomes of the first of them, at least one: as many as fit into the event. An
        addition that is refused, as by `add_version`, gives its error, and the others are recorded.
        `confirm`: as in `add_version`, called for each.
        """
        return self._ledger.write(additions.record_all, prepared, confirm)

    def receive(
        self,
        versions: Sequence[WholeVersion],
        bases: Mapping[str, BaseRecord],
        *,
        confirm: Callable[[], object] = _nothing,
    ) -> list[VersionRecord]:
        """Add versions of another registry, with those of `bases` (by digest) that they need.

        All is one event, and each version is whole in it or not at all. A version whose container the
        model has already is completed. Gives the first of them as they are here, at least one: as many
        as fit into the event. `confirm`: as in `add_version`. Raises `Conflict` for a model's name that
        differs from another in case alone, `InvalidArgument` beyond the limits of a version.
        """
        return self._ledger.write(_after(confirm, receiving.receive), versions, bases)

    def check_may_write(self) -> None:
        """Raise `StorageError` if the registry is read-only."""
        self._ledger.check_may_write()

    def remove_version(self, model: str, number: int) -> VersionRecord:
        """Remove a version for good.

        Raises `NotFound`, `Conflict` if an alias stands for it or archived files need it.
        """
        return self._ledger.write(edits.remove_version, model, number)

    def set_alias(self, model: str, alias: str, number: int) -> VersionRecord:
        """Make or move an alias. Raises `NotFound`, `Conflict` for a name that differs in case."""
        return self._ledger.write(label_edits.set_alias, model, alias, number)

    def remove_alias(self, model: str, alias: str) -> VersionRecord:
        """Remove an alias; returns the version that it stood for. Raises `NotFound`."""
        return self._ledger.write(label_edits.remove_alias, model, alias)

    def add_tag(self, model: str, number: int, tag: str) -> VersionRecord:
        """Tag a version. Raises `NotFound`, `Conflict` for a tag that differs in case."""
        return self._ledger.write(label_edits.add_tag, model, number, tag)

    def remove_tag(self, model: str, number: int, tag: str) -> VersionRecord:
        """Remove a tag from a version. Raises `NotFound`."""
        return self._ledger.write(label_edits.remove_tag, model, number, tag)

    def set_labels(
        self, model: str, number: int, *, note: str = "", tags: Iterable[str] = ()
    ) -> VersionRecord:
        """Replace a version's note, unless it is empty, and add tags, all or none of it.

        Raises `NotFound`, `Conflict` for a tag that differs in case.
        """
        return self._ledger.write(label_edits.set_labels, model, number, note, tuple(tags))

    def set_note(self, model: str, number: int, text: str) -> VersionRecord:
        """Replace a version's note. Raises `NotFound`."""
        return self._ledger.write(label_edits.set_note, model, number, text)

    def set_metadata(
        self, model: str, number: int, entries: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Set keys of a version's metadata, and return all of it, sorted by key.

        Raises `NotFound`, `InvalidArgument` for a bad key or value, or beyond the limits.
        """
        return self._ledger.write(metadata_edits.set_metadata, model, number, entries)

    def remove_metadata(self, model: str, number: int, key: str) -> Mapping[str, str]:
        """Remove a key of a version's metadata, and return what is left. Raises `NotFound`."""
        return self._ledger.write(metadata_edits.remove_metadata, model, number, key)

    def add_attachment(
        self,
        model: str,
        number: int,
        *,
        name: str,
        role: str,
        media_type: str,
        attachment: str,
        size: int,
        confirm: Callable[[], object] = _nothing,
    ) -> AttachmentRecord:
        """Record an attachment, an object, for a version.

        `confirm`: as in `add_version`. Raises `NotFound`, `Conflict` if the version has another one
        of this name in any case, `InvalidArgument` beyond the limits.
        """
        return self._ledger.write(
            _after(confirm, metadata_edits.add_attachment),
            model,
            number,
            name=name,
            role=role,
            media_type=media_type,
            attachment=attachment,
            size=size,
        )

    def remove_attachment(self, model: str, number: int, name: str) -> AttachmentRecord:
        """Remove an attachment of a version, and return its record. Raises `NotFound`."""
        return self._ledger.write(metadata_edits.remove_attachment, model, number, name)

    def add_signature(
        self,
        model: str,
        number: int,
        *,
        signer: str,
        signature: str,
        confirm: Callable[[], object] = _nothing,
    ) -> bool:
        """Record a signature, an object, for a version; it replaces an earlier one by the same signer.

        Returns False if the version had this signature already. `confirm`: as in `add_version`. Raises
        `NotFound`.
        """
        return self._ledger.write(
            _after(confirm, label_edits.add_signature), model, number, signer, signature
        )

    def set_residual(
        self,
        model: str,
        number: int,
        *,
        residual: str,
        size: int,
        digests: RecordedDigests | None = None,
        confirm: Callable[[], object] = _nothing,
    ) -> VersionRecord:
        """Record a residual, an object, for a version, which is lossless from then on.

        `digests`: of the files that come back ("restored"), where these are not the source.
        `confirm`: as in `add_version`. Raises `NotFound`.
        """
        return self._ledger.write(
            _after(confirm, label_edits.set_residual), model, number, residual, size, digests or {}
        )

    def remove_residual(self, model: str, number: int) -> VersionRecord:
        """Remove the residual of a version, which is lossy from then on.

        Raises `NotFound`, also if it has no residual; `Conflict` if archived files need it.
        """
        return self._ledger.write(label_edits.remove_residual, model, number)

    def add_original(
        self, model: str, number: int, *, confirm: Callable[[], object] = _nothing
    ) -> VersionRecord:
        """Record that the source of a version, a file, is an object of the store and stays there.

        `confirm`: as in `add_version`. Raises `NotFound`.
        """
        return self._ledger.write(_after(confirm, label_edits.add_original), model, number)

    def remove_original(self, model: str, number: int) -> VersionRecord:
        """Remove the original of a version.

        Raises `NotFound`, also if it has none; `Conflict` if archived files need it.
        """
        return self._ledger.write(label_edits.remove_original, model, number)

    def archive_file(self, file: ArchivedFile, *, confirm: Callable[[], object] = _nothing) -> None:
        """Record a file outside that may be deleted from then on; one of the same path is replaced.

        The version that gives it back, and what makes that lossless, cannot be removed any more.
        `confirm`: as in `add_version`. Raises `NotFound` if there is no such version.
        """
        self._ledger.write(_after(confirm, edits.archive_file), file)

    def restore_file(self, path: Path) -> None:
        """Record that an archived file is outside again. Raises `NotFound`."""
        self._ledger.write(edits.restore_file, str(path))

    @contextlib.contextmanager
    def writes_blocked(self) -> Iterator[set[str]]:
        """Block all writers until the end of the `with` block; gives the `referenced_objects`."""
        with self._ledger.transaction() as transaction:
            yield queries.referenced_objects(transaction.connection)

    def condemn_objects(self, objects: Collection[str]) -> None:
        """Record the objects that garbage collection is about to delete."""
        change = ObjectsCondemned(objects=sorted(objects))
        self._ledger.write(lambda transaction: transaction.record(change))

    def remember_fingerprint(self, state: FileState, fingerprint: CachedFingerprint) -> None:
        """Cache the fingerprint of a file; `state` must have been taken before the file was read."""
        self._database.write(lambda to: caches.remember_fingerprint(to, state, fingerprint))

    def remember_listings(self, listings: Mapping[tuple[str, str], str]) -> None:
        """Cache such listings, which are facts of the objects and never change."""
        self._database.write(lambda to: caches.remember_listings(to, listings))
