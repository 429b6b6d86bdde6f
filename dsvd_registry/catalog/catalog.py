"""The class `Catalog`: every read and write of names and versions, each in a transaction of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from ..closing import Closing
from ..errors import InvalidArgument
from ..store import EventLog, ObjectsCondemned, Position, RegistryFolder
from . import (
    browse,
    caches,
    check_rows,
    edits,
    label_edits,
    lookup,
    metadata_edits,
    queries,
    snapshot,
)
from .browse import VersionPage, Wanted
from .connect import connect
from .errors import database_errors
from .ledger import Ledger
from .migrate import upgrade
from .records import (
    ArchivedFile,
    AttachmentRecord,
    BaseRecord,
    CachedFingerprint,
    FileState,
    FoundDigest,
    ModelRecord,
    RecordedDigests,
    SignatureRecord,
    Source,
    VersionRecord,
)
from .snapshot import SnapshotDatabase
from .sqlite import copy_sqlite


def _nothing() -> None:
    pass


class Catalog(Closing):
    """The open catalog of one registry. It may be used from several threads.

    Besides the errors named at each method, all raise `RegistryError` (the catalog or the event log
    is damaged, or locked for too long) and `StorageError`; writes raise `InvalidArgument` for a name
    or value that breaks a rule. A write is durable when its method returns.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._database = ledger.database

    @classmethod
    def open(cls, folder: RegistryFolder, url: str | None = None) -> Catalog:
        """Open the catalog of a registry, in its folder or at `url`.

        Tables are made or upgraded if needed, and missing events are applied. If the folder is
        read-only and no `url` is given, all of that happens in memory.
        """
        may_write = url is not None or snapshot.may_write(folder)
        database = connect(folder.catalog, url) if may_write else SnapshotDatabase.of(folder)
        try:
            upgrade(database, folder.tmp)
            ledger = Ledger(database, EventLog(folder), may_write)
            ledger.catch_up()
        except BaseException:
            database.close()
            raise
        return cls(ledger)

    @property
    def path(self) -> Path | None:
        """The SQLite file of the catalog; None for another database or a read-only registry."""
        return self._database.path

    def close(self) -> None:
        """Close the database's connections."""
        self._database.close()

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
        with self._ledger.transaction() as transaction:
            confirm()
            return edits.add_base(
                transaction,
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
        with self._ledger.transaction() as transaction:
            return edits.remove_base(transaction, name)

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
        with self._ledger.transaction() as transaction:
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
            return label_edits.set_labels(transaction, model, version.number, "", tags)

    def remove_version(self, model: str, number: int) -> VersionRecord:
        """Remove a version for good.

        Raises `NotFound`, `Conflict` if an alias stands for it or archived files need it.
        """
        with self._ledger.transaction() as transaction:
            return edits.remove_version(transaction, model, number)

    def set_alias(self, model: str, alias: str, number: int) -> VersionRecord:
        """Make or move an alias. Raises `NotFound`, `Conflict` for a name that differs in case."""
        with self._ledger.transaction() as transaction:
            return label_edits.set_alias(transaction, model, alias, number)

    def remove_alias(self, model: str, alias: str) -> VersionRecord:
        """Remove an alias; returns the version that it stood for. Raises `NotFound`."""
        with self._ledger.transaction() as transaction:
            return label_edits.remove_alias(transaction, model, alias)

    def add_tag(self, model: str, number: int, tag: str) -> VersionRecord:
        """Tag a version. Raises `NotFound`, `Conflict` for a tag that differs in case."""
        with self._ledger.transaction() as transaction:
            return label_edits.add_tag(transaction, model, number, tag)

    def remove_tag(self, model: str, number: int, tag: str) -> VersionRecord:
        """Remove a tag from a version. Raises `NotFound`."""
        with self._ledger.transaction() as transaction:
            return label_edits.remove_tag(transaction, model, number, tag)

    def set_labels(
        self, model: str, number: int, *, note: str = "", tags: Iterable[str] = ()
    ) -> VersionRecord:
        """Replace a version's note, unless it is empty, and add tags, all or none of it.

        Raises `NotFound`, `Conflict` for a tag that differs in case.
        """
        with self._ledger.transaction() as transaction:
            return label_edits.set_labels(transaction, model, number, note, tags)

    def set_note(self, model: str, number: int, text: str) -> VersionRecord:
        """Replace a version's note. Raises `NotFound`."""
        with self._ledger.transaction() as transaction:
            return label_edits.set_note(transaction, model, number, text)

    def set_metadata(
        self, model: str, number: int, entries: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Set keys of a version's metadata, and return all of it, sorted by key.

        Raises `NotFound`, `InvalidArgument` for a bad key or value, or beyond the limits.
        """
        with self._ledger.transaction() as transaction:
            return metadata_edits.set_metadata(transaction, model, number, entries)

    def remove_metadata(self, model: str, number: int, key: str) -> Mapping[str, str]:
        """Remove a key of a version's metadata, and return what is left. Raises `NotFound`."""
        with self._ledger.transaction() as transaction:
            return metadata_edits.remove_metadata(transaction, model, number, key)

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
        with self._ledger.transaction() as transaction:
            confirm()
            return metadata_edits.add_attachment(
                transaction,
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
        with self._ledger.transaction() as transaction:
            return metadata_edits.remove_attachment(transaction, model, number, name)

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
        with self._ledger.transaction() as transaction:
            confirm()
            return label_edits.add_signature(transaction, model, number, signer, signature)

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
        with self._ledger.transaction() as transaction:
            confirm()
            return label_edits.set_residual(
                transaction, model, number, residual, size, digests or {}
            )

    def remove_residual(self, model: str, number: int) -> VersionRecord:
        """Remove the residual of a version, which is lossy from then on.

        Raises `NotFound`, also if it has no residual; `Conflict` if archived files need it.
        """
        with self._ledger.transaction() as transaction:
            return label_edits.remove_residual(transaction, model, number)

    def add_original(
        self, model: str, number: int, *, confirm: Callable[[], object] = _nothing
    ) -> VersionRecord:
        """Record that the source of a version, a file, is an object of the store and stays there.

        `confirm`: as in `add_version`. Raises `NotFound`.
        """
        with self._ledger.transaction() as transaction:
            confirm()
            return label_edits.add_original(transaction, model, number)

    def remove_original(self, model: str, number: int) -> VersionRecord:
        """Remove the original of a version.

        Raises `NotFound`, also if it has none; `Conflict` if archived files need it.
        """
        with self._ledger.transaction() as transaction:
            return label_edits.remove_original(transaction, model, number)

    def position(self) -> int:
        """The number of the last event that is shown; it grows with every change of the catalog."""
        return self._ledger.position().sequence

    def last_event(self) -> Position:
        """The last event that is shown, with its SHA-256."""
        return self._ledger.position()

    def archive_file(self, file: ArchivedFile, *, confirm: Callable[[], object] = _nothing) -> None:
        """Record a file outside that may be deleted from then on; one of the same path is replaced.

        The version that gives it back, and what makes that lossless, cannot be removed any more.
        `confirm`: as in `add_version`. Raises `NotFound` if there is no such version.
        """
        with self._ledger.transaction() as transaction:
            confirm()
            edits.archive_file(transaction, file)

    def restore_file(self, path: Path) -> None:
        """Record that an archived file is outside again. Raises `NotFound`."""
        with self._ledger.transaction() as transaction:
            edits.restore_file(transaction, str(path))

    def archived_files(self) -> list[ArchivedFile]:
        """The files that were archived and not restored since, by path."""
        with self._database.reading() as connection:
            return queries.archived_files(connection)

    def bases(self) -> list[BaseRecord]:
        """Every base, by name."""
        with self._database.reading() as connection:
            return queries.bases(connection)

    def base(self, name: str) -> BaseRecord:
        """The base of that name, digest, or unique prefix of a digest (6 digits or more).

        Raises `NotFound`, `InvalidArgument` for a prefix that is not unique.
        """
        with self._database.reading() as connection:
            return lookup.base(connection, name)

    def models(self) -> list[ModelRecord]:
        """Every model, by name, including those whose versions were all removed."""
        with self._database.reading() as connection:
            return queries.models(connection)

    def versions(
        self,
        pattern: str | None = None,
        *,
        base: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
    ) -> list[VersionRecord]:
        """The live versions that meet every given condition, newest last.

        `pattern`: a shell pattern for the model's name. `base`: as in `base`. `tag`: a tag of the
        version. `since`: the earliest time of addition, local if it has no zone. Raises `NotFound`
        for an unknown base.
        """
        with self._database.reading() as connection:
            return lookup.search(connection, pattern, base, tag, since)

    def page(self, wanted: Wanted, offset: int, limit: int) -> VersionPage:
        """A page of the live versions that are wanted, newest first, at most `limit` from `offset` on.

        Raises `NotFound` for an unknown base.
        """
        with self._database.reading() as connection:
            return browse.page(connection, wanted, offset, limit)

    def tags(self) -> tuple[str, ...]:
        """The tags of live versions, by name, at most 500."""
        with self._database.reading() as connection:
            return browse.tags(connection)

    def signatures(self, ref: str | None = None) -> list[SignatureRecord]:
        """The signatures of the live version that a ref means, or of all live versions.

        Raises as `version`.
        """
        with self._database.reading() as connection:
            if ref is None:
                return queries.signatures(connection, queries.LIVE)
            found = lookup.version(connection, lookup.parse_ref(ref))
            this = "models.name = :model AND versions.number = :number"
            return queries.signatures(connection, this, model=found.model, number=found.number)

    def metadata(self, ref: str) -> Mapping[str, str]:
        """The metadata of the live version that a ref means, sorted by key. Raises as `version`."""
        with self._database.reading() as connection:
            found = lookup.version(connection, lookup.parse_ref(ref))
            this = ("models.name = :model", "versions.number = :number")
            entries = queries.metadata(connection, *this, model=found.model, number=found.number)
            return entries.get((found.model, found.number), {})

    def metadata_of_all(self, key: str) -> Mapping[str, str]:
        """The value of one key for each live version that has it, by the version's ref."""
        with self._database.reading() as connection:
            found = queries.metadata(connection, queries.LIVE, "metadata.name = :key", key=key)
            return {f"{model}@{number}": entries[key] for (model, number), entries in found.items()}

    def attachments(self, ref: str | None = None) -> list[AttachmentRecord]:
        """The attachments of the live version that a ref means, or of all live versions, oldest first.

        Raises as `version`.
        """
        with self._database.reading() as connection:
            if ref is None:
                return queries.attachments(connection, queries.LIVE)
            found = lookup.version(connection, lookup.parse_ref(ref))
            this = ("models.name = :model", "versions.number = :number")
            return queries.attachments(connection, *this, model=found.model, number=found.number)

    def version(self, ref: str) -> VersionRecord:
        """The live version that a ref means. Raises `InvalidArgument`, `NotFound`."""
        with self._database.reading() as connection:
            return lookup.version(connection, lookup.parse_ref(ref))

    def history(self, model: str) -> list[VersionRecord]:
        """Every version that a model ever had, removed ones too, newest last. Raises `NotFound`."""
        if "@" in model:
            raise InvalidArgument(f"{model!r} names a version", "Give the model's name alone.")
        with self._database.reading() as connection:
            return lookup.history(connection, model)

    def find_version(
        self, source_sha256: str, base: str, settings: str | None, model: str | None = None
    ) -> VersionRecord | None:
        """The newest live version made from this source, base (digest) and settings; None without one.

        `settings`: None for any. `model`: None for any.
        """
        with self._database.reading() as connection:
            return lookup.same_source(connection, source_sha256, base, settings, model)

    def find_digest(self, start: str) -> list[FoundDigest]:
        """The live versions with a digest that begins with these digits (lower case), newest last.

        The digests are those of their sources and results, and the SHA-256 of container and residual.
        """
        with self._database.reading() as connection:
            return lookup.with_digest(connection, start)

    def result_digests(self, container: str) -> Mapping[str, Mapping[str, str]]:
        """The recorded digests of the files that a container gives, by path and kind."""
        with self._database.reading() as connection:
            return queries.result_digests(connection, container)

    def referenced_objects(self) -> set[str]:
        """The digests of the objects that live versions and bases need, which gc must keep."""
        # A version whose writer crashed between event and row must count too.
        self._ledger.catch_up()
        with self._database.reading() as connection:
            return queries.referenced_objects(connection)

    @contextlib.contextmanager
    def writes_blocked(self) -> Iterator[set[str]]:
        """Block all writers until the end of the `with` block; gives the `referenced_objects`."""
        with self._ledger.transaction() as transaction:
            yield queries.referenced_objects(transaction.connection)

    def condemn_objects(self, objects: Collection[str]) -> None:
        """Record the objects that garbage collection is about to delete."""
        with self._ledger.transaction() as transaction:
            transaction.record(ObjectsCondemned(objects=sorted(objects)))

    def check_log(self) -> int:
        """Read the whole event log, and compare each row with it; returns the number of events.

        Raises `RegistryError` for damage, and if the log lacks an event that the catalog shows.
        """
        return check_rows.check_rows(self._ledger)

    def cached_fingerprint(self, state: FileState) -> CachedFingerprint | None:
        """The cached fingerprint of a file in this state; None if it is not known."""
        with self._database.reading() as connection:
            return caches.recall_fingerprint(connection, state)

    def remember_fingerprint(self, state: FileState, fingerprint: CachedFingerprint) -> None:
        """Cache the fingerprint of a file; `state` must have been taken before the file was read."""
        with self._database.writing() as connection:
            caches.remember_fingerprint(connection, state, fingerprint)

    def cached_listings(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The cached listings of the files that objects give, by the object and the form as text."""
        with self._database.reading() as connection:
            return caches.recall_listings(connection, keys)

    def remember_listings(self, listings: Mapping[tuple[str, str], str]) -> None:
        """Cache such listings, which are facts of the objects and never change."""
        with self._database.writing() as connection:
            caches.remember_listings(connection, listings)
