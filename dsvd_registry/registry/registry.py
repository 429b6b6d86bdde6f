"""The registry, the public API: one method for each thing that can be done.

Here it is opened; its other methods are in `methods`, by what they are about. A method calls the module
of its verb, which it imports as it runs: listing versions loads no numpy, and a method that needs no
tensor loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..catalog import rebuild
from ..progress import Progress, silent
from .methods.adding import AddingMethods
from .methods.archiving import ArchivingMethods
from .methods.bases import BaseMethods
from .methods.describing import DescribingMethods
from .methods.exchange import ExchangeMethods
from .methods.results import ResultMethods
from .methods.upkeep import UpkeepMethods
from .methods.versions import VersionMethods
from .opening import made_repository, opened_repository
from .repository import catalog_url, found_home

if TYPE_CHECKING:
    from ..catalog import Rebuilt
    from .upkeep.repair import Repaired


class Registry(
    BaseMethods,
    AddingMethods,
    VersionMethods,
    DescribingMethods,
    ArchivingMethods,
    ResultMethods,
    ExchangeMethods,
    UpkeepMethods,
):
    """An open registry of bases, models and their versions.

    Use it as a context manager, or call `close`. A *ref* names a version: `name` (its newest
    version), `name@3`, `name@alias` or `name@latest`.

    Besides the errors named at each method, all raise `RegistryError` (the registry is damaged),
    `StorageError` (the operating system refused) and `NotFound` (a ref or base does not exist).

    Example:
        >>> with Registry.open() as registry:
        ...     registry.version("subject-42").ref
        'subject-42@2'
    """

    @classmethod
    def init(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """Make a registry and open it.

        Args:
            path: The folder to make it in, or a bucket as in `open`; default: DSVD_REGISTRY, or the
                user's data folder.
            catalog: As in `open`.

        Raises:
            Conflict: The folder, or the place in the bucket, is not empty.
            NotFound: The bucket does not exist.
            InvalidArgument: A URL cannot be used.

        Example:
            >>> with Registry.init("studio") as registry:
            ...     registry.folder.name
            'studio'
        """
        return cls(made_repository(path, catalog))

    @classmethod
    def open(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """Open the registry at `path`, or the one found from the environment and the current folder.

        A read-only folder can be opened; then every method that writes raises `StorageError`.

        Args:
            path: Its folder, or its place in a bucket as a URL: "s3://bucket/prefix", "gs://..." or
                "az://..." (extra `cloud`); default: DSVD_REGISTRY, a folder `.dsvd` here or above, or
                the user's data folder.
            catalog: URL of the database with its catalog, as SQLAlchemy writes it; default:
                DSVD_CATALOG, or SQLite in the registry's folder. All writers must give the same.

        Raises:
            NotFound: There is no registry.
            InvalidArgument: A URL cannot be used.

        Example:
            >>> with Registry.open() as registry:
            ...     [base.name for base in registry.bases()]
            ['sd15']
        """
        return cls(opened_repository(path, catalog))

    @classmethod
    def clone(
        cls,
        url: str | Path,
        path: str | Path,
        *,
        catalog: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Make a registry with the versions, the bases and the history of another, and open it.

        The other one is its remote `origin`. A base that is linked there is copied. If a clone was
        stopped, the same call goes on with it.

        Args:
            url: The folder of the other registry, as a path or as file:///PATH, or its place in a
                bucket as in `open`.
            path: The folder to make, new or empty.
            catalog: As in `open`, for the new registry.
            progress: Called as the work goes on.

        Raises:
            Conflict: The folder is a registry, or has other files in it.
            InvalidArgument: A URL cannot be used.
            NotFound: There is no registry at `url`.
            BaseMismatch: The file of a linked base is gone or was changed.

        Example:
            >>> with Registry.clone(".dsvd", "copy") as copy:
            ...     copy.version("subject-42").ref
            'subject-42@2'
        """
        from .exchange.clone import clone

        return cls(clone(str(url), path, catalog_url(catalog), progress))

    @staticmethod
    def rebuild_catalog(path: str | Path | None = None, *, catalog: str | None = None) -> Rebuilt:
        """Rebuild the catalog from the events of the store, even if it cannot be opened.

        Args:
            path: As in `open`.
            catalog: As in `open`.

        Returns:
            The number of events, and the path of the old catalog if it was set aside.

        Raises:
            RegistryError: The event log cannot be read.

        Example:
            >>> Registry.rebuild_catalog().events > 0
            True
        """
        return rebuild(found_home(path), catalog_url(catalog))

    @staticmethod
    def repair(
        path: str | Path | None = None,
        *,
        sources: Iterable[str | Path] = (),
        deep: bool = False,
        signer: str | Path | None = None,
        catalog: str | None = None,
        progress: Progress = silent,
    ) -> Repaired:
        """Restore damaged files from good copies, and set aside and report the lost ones.

        Args:
            path: As in `open`; the catalog need not be readable.
            sources: Files, and folders of files, that may have good bytes. A file is used for an
                object, or an event, only if it has its SHA-256.
            deep: As in `verify`, which runs at the end.
            signer: As in `verify`.
            catalog: As in `open`.
            progress: Called as the work goes on.

        Returns:
            The restored objects, the lost objects, and the findings of `verify` afterwards.

        Raises:
            InvalidArgument: A source does not exist.
            RegistryError: Neither the catalog nor the event log can be read.

        Example:
            >>> Registry.repair(sources=["backup"]).is_well
            True
        """
        from .signing import public_key_at
        from .upkeep.repair import repair
        from .upkeep.repair_sources import checked_sources

        return repair(
            found_home(path),
            catalog_url(catalog),
            checked_sources(sources),
            deep=deep,
            signer=public_key_at(signer),
            progress=progress,
        )
