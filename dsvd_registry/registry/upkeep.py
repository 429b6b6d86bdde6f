"""What keeps a registry sound and small."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING

from ..progress import Progress, silent
from . import cleaning
from .bases import Bases
from .cleaning import Collected, Usage
from .opened import catalog_url, found_folder
from .versions import Versions

if TYPE_CHECKING:
    from .repairing import Lost, Repaired, Restored
    from .verifying import Verified


class Upkeep(Bases, Versions):
    """Damage looked for, and space given back."""

    def verify(
        self,
        ref: str | None = None,
        *,
        deep: bool = False,
        signer: str | Path | None = None,
        progress: Progress = silent,
    ) -> Verified:
        """Look for damage in one version and its base, or in all; `deep` materialises in memory.

        `signer`: the file of an Ed25519 public key, of which each version must have a signature.
        Damage is no exception here: it stands in the findings. Raises `InvalidArgument` for what is
        no such key, `MissingExtra` with a `signer` where `cryptography` is not installed.
        """
        from .signed import signature_findings
        from .verifying import CATALOG, Verified, verify, verify_log

        key = None
        if signer is not None:
            from ..signing.keys import read_public_key

            key = read_public_key(Path(signer))
        of_log = verify_log(self._catalog, self._folder) if ref is None else ()
        if any(found.subjects == CATALOG for found in of_log):
            # It says what there is: from there on nothing would be sure.
            return Verified(0, 0, 0, deep, of_log)
        if ref is None:
            versions, bases = self.versions(), self.bases()
        else:
            versions = [self.version(ref)]
            bases = [base for base in self.bases() if base.digest == versions[0].base]
        found = verify(versions, bases, self._catalog, self._objects, deep=deep, progress=progress)
        records = self._catalog.signatures(None if ref is None else versions[0].ref)
        signatures = tuple(signature_findings(versions, records, key, self._objects))
        return replaced(found, findings=(*of_log, *found.findings, *signatures))

    @classmethod
    def repair(
        cls,
        path: str | Path | None = None,
        *,
        sources: Iterable[str | Path] = (),
        deep: bool = False,
        signer: str | Path | None = None,
        catalog: str | None = None,
        progress: Progress = silent,
    ) -> Repaired:
        """Put damage right where that can be done, and set aside and name what is lost.

        `path` and `catalog` are as in `open`; the catalog need not be readable. `sources`: files and
        folders, in which good bytes may be: a file is taken for an object, or an event, if it has
        its SHA-256. `deep` and `signer`: as in `verify`, which tells what remains.
        Raises `InvalidArgument` for a source that is not there, `RegistryError` where neither the
        catalog nor the event log can be read.
        """
        from .good_bytes import checked_sources
        from .repairing import Repaired, repair_catalog, repair_objects, restore_events

        places = checked_sources(sources)
        folder, url = found_folder(path), catalog_url(catalog)
        restored = restore_events(folder, places, progress)
        rebuilt = repair_catalog(folder, url)
        with cls.open(folder.root, catalog=url) as registry:
            found = registry.verify(signer=signer, progress=progress)
            of_objects: list[Restored] = []
            lost: list[Lost] = []
            was_well = found.is_well
            if not was_well:
                of_objects, lost = repair_objects(
                    registry._catalog, registry._objects, places, progress
                )
            if deep or not was_well:
                found = registry.verify(deep=deep, signer=signer, progress=progress)
        return Repaired(rebuilt, (*restored, *of_objects), tuple(lost), found)

    def backup_catalog(self, output: str | Path | None = None, *, replace: bool = False) -> Path:
        """Copy the catalog, while it is used: SQLite's online backup. Gives where it stands.

        `output`: default `catalog.sqlite.backup` in the registry's folder, where it takes the place
        of the one before. Raises `Conflict` if another `output` exists and `replace` is false.
        """
        if output is None:
            copy, replace = self.folder / "catalog.sqlite.backup", True
        else:
            copy = Path(output)
            self.check_output(copy)
        self._catalog.backup(copy, replace=replace)
        return copy

    def usage(self) -> Usage:
        """Bytes by model and by base, shared and reclaimable."""
        return cleaning.usage(self._catalog, self._objects)

    def collect(
        self, *, grace_days: float = cleaning.DEFAULT_GRACE_DAYS, dry_run: bool = False
    ) -> Collected:
        """Remove objects that nothing needs and temporary files, older than the grace time."""
        return cleaning.collect(
            self._catalog, self._objects, grace_days=grace_days, dry_run=dry_run
        )
