"""The class `CatalogReader`: every read of names and versions, each of one state of the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ..closing import Closing
from ..errors import InvalidArgument
from ..store import Position
from . import browse, caches, check_rows, lookup, queries, whole_versions
from .browse import VersionPage, Wanted
from .database import Connection
from .ledger import Ledger
from .records import (
    ArchivedFile,
    AttachmentRecord,
    BaseRecord,
    CachedFingerprint,
    FileState,
    FoundDigest,
    ModelRecord,
    SignatureRecord,
    VersionRecord,
)
from .whole_versions import WholeVersion

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class CatalogReader(Closing):
    """The reads of an open catalog. It may be used from several threads.

    Besides the errors named at each method, all raise `RegistryError` (the catalog or the event log
    is damaged, or locked for too long) and `StorageError`.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._database = ledger.database

    @property
    def path(self) -> Path | None:
        """The SQLite file of the catalog; None for another database or a read-only registry."""
        return self._database.path

    @property
    def url(self) -> str | None:
        """The URL by which another process opens the catalog; None for one in the registry's folder."""
        return self._database.url

    def close(self) -> None:
        """Close the database's connections."""
        self._database.close()

    def _read(
        self,
        query: Callable[Concatenate[Connection, _Arguments], _Answer],
        *arguments: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> _Answer:
        """The answer of a query, which is asked again if the connection was lost."""
        return self._database.read(lambda connection: query(connection, *arguments, **named))

    def position(self) -> int:
        """The number of the last event that is shown; it grows with every change of the catalog."""
        return self._ledger.position().sequence

    def last_event(self) -> Position:
        """The last event that is shown, with its SHA-256."""
        return self._ledger.position()

    def archived_files(self) -> list[ArchivedFile]:
        """The files that were archived and not restored since, by path."""
        return self._database.read(queries.archived_files)

    def bases(self) -> list[BaseRecord]:
        """Every base, by name."""
        return self._database.read(queries.bases)

    def base(self, name: str) -> BaseRecord:
        """The base of that name, digest, or unique prefix of a digest (6 digits or more).

        Raises `NotFound`, `InvalidArgument` for a prefix that is not unique.
        """
        return self._read(lookup.base, name)

    def models(self) -> list[ModelRecord]:
        """Every model, by name, including those whose versions were all removed."""
        return self._read(queries.models)

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
        return self._read(lookup.search, pattern, base, tag, since)

    def page(self, wanted: Wanted, offset: int, limit: int) -> VersionPage:
        """A page of the live versions that are wanted, newest first, at most `limit` from `offset` on.

        Raises `NotFound` for an unknown base.
        """
        return self._read(browse.page, wanted, offset, limit)

    def tags(self) -> tuple[str, ...]:
        """The tags of live versions, by name, at most 500."""
        return self._read(browse.tags)

    def signatures(self, ref: str | None = None) -> list[SignatureRecord]:
        """The signatures of the live version that a ref means, or of all live versions.

        Raises as `version`.
        """
        return self._read(lookup.signatures, None if ref is None else lookup.parse_ref(ref))

    def metadata(self, ref: str) -> Mapping[str, str]:
        """The metadata of the live version that a ref means, sorted by key. Raises as `version`."""
        return self._read(lookup.metadata, lookup.parse_ref(ref))

    def metadata_of_all(self, key: str) -> Mapping[str, str]:
        """The value of one key for each live version that has it, by the version's ref."""
        return self._read(lookup.metadata_of_all, key)

    def attachments(self, ref: str | None = None) -> list[AttachmentRecord]:
        """The attachments of the live version that a ref means, or of all live versions, oldest first.

        Raises as `version`.
        """
        return self._read(lookup.attachments, None if ref is None else lookup.parse_ref(ref))

    def version(self, ref: str) -> VersionRecord:
        """The live version that a ref means. Raises `InvalidArgument`, `NotFound`."""
        return self._read(lookup.version, lookup.parse_ref(ref))

    def history(self, model: str) -> list[VersionRecord]:
        """Every version that a model ever had, removed ones too, newest last. Raises `NotFound`."""
        if "@" in model:
            raise InvalidArgument(f"{model!r} names a version", "Give the model's name alone.")
        return self._read(lookup.history, model)

    def whole_versions(self, models: Collection[str] | None = None) -> list[WholeVersion]:
        """The live versions of these models, or of all, oldest first, with all that belongs to them."""
        return self._read(whole_versions.of_models, models)

    def find_version(
        self, source_sha256: str, base: str, settings: str | None, model: str | None = None
    ) -> VersionRecord | None:
        """The newest live version made from this source, base (digest) and settings; None without one.

        `settings`: None for any. `model`: None for any.
        """
        return self._read(lookup.same_source, source_sha256, base, settings, model)

    def find_digest(self, start: str) -> list[FoundDigest]:
        """The live versions with a digest that begins with these digits (lower case), newest last.

        The digests are those of their sources and results, and the SHA-256 of container and residual.
        """
        return self._read(lookup.with_digest, start)

    def result_digests(self, container: str) -> Mapping[str, Mapping[str, str]]:
        """The recorded digests of the files that a container gives, by path and kind."""
        return self._read(queries.result_digests, container)

    def referenced_objects(self) -> set[str]:
        """The digests of the objects that live versions and bases need, which gc must keep."""
        # A version whose writer crashed between event and row must count too.
        self._ledger.catch_up()
        return self._read(queries.referenced_objects)

    def check_log(self) -> int:
        """Read the whole event log, and compare each row with it; returns the number of events.

        Raises `RegistryError` for damage, and if the log lacks an event that the catalog shows.
        """
        return check_rows.check_rows(self._ledger)

    def cached_fingerprint(self, state: FileState) -> CachedFingerprint | None:
        """The cached fingerprint of a file in this state; None if it is not known."""
        return self._read(caches.recall_fingerprint, state)

    def cached_listings(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The cached listings of the files that objects give, by the object and the form as text."""
        return self._read(caches.recall_listings, keys)
