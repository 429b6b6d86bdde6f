"""What can be done with versions that are there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ..catalog import VersionRecord
from ..progress import Progress, silent
from .opened import OpenRegistry

if TYPE_CHECKING:
    from .diff import BaseDifference, Difference
    from .report import Report
    from .residuals import Thinned


class Versions(OpenRegistry):
    """Versions listed, compared and removed."""

    def versions(
        self,
        pattern: str | None = None,
        *,
        base: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
    ) -> list[VersionRecord]:
        """Live versions, newest last, of models that match a shell pattern, and so on."""
        return self._catalog.versions(pattern, base=base, tag=tag, since=since)

    def history(self, model: str) -> list[VersionRecord]:
        """Every version that a model ever had, removed ones too, newest last."""
        return self._catalog.history(model)

    def report(self, ref: str) -> Report:
        """The account of every tensor of a version. Reads the container, no tensor."""
        from .report import report
        from .repository import base_of, open_container, read_manifest

        version = self.version(ref)
        manifest = read_manifest(base_of(version, self._catalog), self._objects)
        with open_container(version, self._objects) as container:
            return report(container, (tensor.name for tensor in manifest.tensors))

    def diff(self, left: str, right: str, *, progress: Progress = silent) -> Difference:
        """How the deltas of two versions differ, from their factors."""
        from .diff import difference
        from .repository import open_container

        with (
            open_container(self.version(left), self._objects) as one,
            open_container(self.version(right), self._objects) as other,
        ):
            return difference(one, other, progress)

    def diff_base(self, ref: str, *, progress: Progress = silent) -> list[BaseDifference]:
        """How each tensor of a version differs from its base; of a lossless one, as it was added."""
        from ..reconstruction.lossless import LosslessReconstruction
        from ..reconstruction.reconstruction import Reconstruction
        from .diff import base_differences
        from .repository import open_version
        from .residuals import opened_lossless

        version = self.version(ref)
        with (
            open_version(version, self._catalog, self._objects) as (container, weights),
            opened_lossless(version, self._objects) as lossless,
        ):
            header = container.header
            made = Reconstruction(container, weights, header.encoding.tau)
            if lossless is not None:
                made = LosslessReconstruction(container, weights, lossless)
            return list(base_differences(made, header, progress))

    def thin(self, ref: str) -> Thinned:
        """Drop what makes a version lossless: what its container alone gives, remains for good.

        Raises `NotFound` for a version that is lossy already.
        """
        from .residuals import thin

        return thin(self.version(ref), self._catalog)

    def remove(self, ref: str) -> VersionRecord:
        """Remove a version; its number is not used again. Raises `Conflict` where an alias stands."""
        version = self.version(ref)
        return self._catalog.remove_version(version.model, version.number)
