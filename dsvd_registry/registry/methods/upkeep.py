"""Upkeep: verification, backup, sizes and garbage collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...progress import Progress, silent
from ..upkeep.gc import DEFAULT_GRACE_DAYS
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from ..upkeep.findings import Verified
    from ..upkeep.gc import Collected
    from ..upkeep.last_verified import LastVerified
    from ..upkeep.usage import Usage


class UpkeepMethods(OpenRegistry):
    """Upkeep: verification, backup, sizes and garbage collection."""

    def verify(
        self,
        ref: str | None = None,
        *,
        deep: bool = False,
        signer: str | Path | None = None,
        progress: Progress = silent,
    ) -> Verified:
        """Look for damage. Damage raises no error here: it is reported in the findings.

        Args:
            ref: The version to check, with its base; default: all versions and bases, the event log
                and the catalog.
            deep: Also make the result of each version in memory, and compare its SHA-256.
            signer: The file of an Ed25519 public key; each version must have a signature by it.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: `signer` is not such a key.
            MissingExtra: `signer` is given, and `cryptography` is not installed.
            StorageError: The machine refuses, by too many open files for instance. That is no finding.

        Example:
            >>> registry.verify(deep=True).is_well
            True
        """
        from ..signing import public_key_at
        from ..upkeep.verify import verify

        return verify(
            self.repository, ref, deep=deep, signer=public_key_at(signer), progress=progress
        )

    def keep_verified(self, verified: Verified) -> None:
        """Keep the findings of a verification of the whole registry, which people then see later.

        The last one is kept. Nothing happens where the registry may only be read.

        Example:
            >>> registry.keep_verified(registry.verify())
            >>> registry.last_verified().found
            0
        """
        from ..upkeep.last_verified import keep_verified

        keep_verified(self.repository.home, verified)

    def last_verified(self) -> LastVerified | None:
        """The verification that was kept last, by `dsvd verify --all` for instance; None without one.

        Example:
            >>> registry.last_verified() is None
            True
        """
        from ..upkeep.last_verified import last_verified

        return last_verified(self.repository.home)

    def backup_catalog(self, output: str | Path | None = None, *, replace: bool = False) -> Path:
        """Copy the catalog while it is in use, by SQLite's online backup.

        Args:
            output: The path to write to; default: `catalog.sqlite.backup` in the registry's folder,
                which replaces the previous copy.
            replace: Replace `output` if it exists.

        Raises:
            Conflict: `output` exists and `replace` is false.

        Example:
            >>> registry.backup_catalog().name
            'catalog.sqlite.backup'
        """
        if output is None:
            copy, replace = self.folder / "catalog.sqlite.backup", True
        else:
            from ..results.output import check_output

            copy = Path(output)
            check_output(copy, self.repository)
        self.repository.catalog.backup(copy, replace=replace)
        return copy

    def usage(self) -> Usage:
        """Count the bytes of the store by model and by base, the shared and the reclaimable ones.

        Example:
            >>> [model.name for model in registry.usage().models]
            ['subject-42']
        """
        from ..upkeep.usage import usage

        return usage(self.repository)

    def collect_garbage(
        self, *, grace_days: float = DEFAULT_GRACE_DAYS, dry_run: bool = False
    ) -> Collected:
        """Remove unneeded objects and temporary files that are older than the grace time.

        Args:
            grace_days: The grace time in days; it protects objects that another process has written
                and not yet recorded.
            dry_run: Only count the objects, remove nothing.

        Example:
            >>> registry.collect_garbage().objects
            0
        """
        from ..upkeep.gc import collect_garbage

        return collect_garbage(self.repository, grace_days=grace_days, dry_run=dry_run)
