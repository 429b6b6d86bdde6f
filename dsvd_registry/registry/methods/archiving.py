"""Removal, and files that the registry takes the place of and gives back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...progress import Progress, silent
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from typing import Unpack

    from ...catalog import VersionRecord
    from ..archiving.archive import Archived
    from ..archiving.archive_plan import ArchiveOptions, ArchivePlan
    from ..archiving.restore import RestoredFiles
    from ..upkeep.thin import Thinned


class ArchivingMethods(OpenRegistry):
    """Removal, and files that the registry takes the place of and gives back."""

    def thin(self, ref: str) -> Thinned:
        """Drop the residual of a version, or the original of a LoRA; its container stays.

        The version is lossy from then on.

        Raises:
            NotFound: The version is lossy already.
            Conflict: An archived file can be restored from it alone.

        Example:
            >>> registry.add("ft2.safetensors", base="sd15", name="kept", lossless=True).ref
            'kept@1'
            >>> registry.thin("kept").version.residual is None
            True
        """
        from ..upkeep.thin import thin

        return thin(self.version(ref), self.repository)

    def remove_version(self, ref: str) -> VersionRecord:
        """Remove a version; its number is not used again.

        Raises:
            Conflict: An alias stands for it, or an archived file can be restored from it alone.

        Example:
            >>> registry.remove_version("subject-42@2").ref
            'subject-42@2'
        """
        version = self.version(ref)
        return self.repository.catalog.remove_version(version.model, version.number)

    def plan_archive(self, folder: str | Path, **options: Unpack[ArchiveOptions]) -> ArchivePlan:
        """Find the checkpoints below a folder that versions can give back.

        Nothing is changed. They are added losslessly, unless a tau, an error or a budget is given. LoRA
        files take more room in a registry than outside; with `loras=False` they stay, unless it has
        their bytes already.

        Args:
            folder: The folder; folders in it are searched too.
            **options: Those of `ArchiveOptions`: the options of `add`, `progress`, `loras`, and
                `link_to`, a mounted registry: links into it will take the places of the files.

        Returns:
            The files that `archive` will delete, those that stay with the reasons, and an estimate of
            the room that this frees.

        Raises:
            InvalidArgument: `folder` is not a folder, `link_to` is not a mounted registry, or an
                option is not valid.

        Example:
            >>> plan = registry.plan_archive("models", base="sd15")
            >>> [file.path.name for file in plan.files]
            ['subject-7.safetensors']
        """
        from ..archiving.archive_search import plan_archive

        return plan_archive(Path(folder), options, self.repository)

    def archive(self, plan: ArchivePlan, *, progress: Progress = silent) -> Archived:
        """Add the files of a plan, and delete each once its version was seen to give it back.

        A file is deleted only if everything that gives it back was verified (`verify`, deep), its
        SHA-256 was computed again right before, and its path, times and permissions are recorded for
        `restore`. Any other stays, and the outcome says why.

        Args:
            plan: What `plan_archive` found.
            progress: Called as the work goes on.

        Raises:
            StoppedArchive: The work was interrupted; the same plan may be made and archived again.

        Example:
            >>> archived = registry.archive(registry.plan_archive("models", base="sd15"))
            >>> [file.ref for file in archived.files]
            ['subject-7@1']
        """
        from ..archiving.archive import archive

        return archive(plan, self.repository, progress)

    def restore(
        self,
        where: str | Path,
        output: str | Path | None = None,
        *,
        replace: bool = False,
        progress: Progress = silent,
    ) -> RestoredFiles:
        """Put archived files back, byte for byte, with their times and permissions.

        A file takes the place of nothing, or of the link that `archive` left.

        Args:
            where: The path of an archived file, of a folder above some, or a ref.
            output: Another path for the file, if it is one. It may be given for a version of which no
                file was archived, too.
            replace: Replace files that are there and differ.
            progress: Called as the work goes on.

        Returns:
            The outcome of each file; a refused one does not stop the others.

        Raises:
            NotFound: Nothing is archived there.
            InvalidArgument: `output` is given for several files.

        Example:
            >>> archived = registry.archive(registry.plan_archive("models", base="sd15"))
            >>> [file.outcome for file in registry.restore("models").files]
            ['restored']
        """
        from ..archiving.restore import restore

        return restore(where, output, self.repository, self._pool.get(), replace, progress)
