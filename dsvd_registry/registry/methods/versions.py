"""Versions: listing, finding, reporting and comparing them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...progress import Progress, silent
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from ...catalog import VersionRecord
    from ..accounts.curve_points import Curve
    from ..accounts.diff import BaseDifference, Difference
    from ..accounts.report import Report
    from ..find import Found


class VersionMethods(OpenRegistry):
    """Versions: listing, finding, reporting and comparing them."""

    def versions(
        self,
        pattern: str | None = None,
        *,
        base: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
    ) -> list[VersionRecord]:
        """List versions, newest last.

        Args:
            pattern: A shell pattern that the model's name matches, as `subject-*`.
            base: Only versions of this base, a name or digest.
            tag: Only versions with this tag.
            since: Only versions added at or after this time.

        Example:
            >>> [version.ref for version in registry.versions("subject-*")]
            ['subject-42@1', 'subject-42@2']
        """
        return self.repository.catalog.versions(pattern, base=base, tag=tag, since=since)

    def find(self, what: str | Path, *, progress: Progress = silent) -> Found:
        """Find what a digest, a file, or a picture belongs to.

        A digest is a SHA-256, AutoV1, AutoV2, AutoV3, BLAKE3 or CRC32, or its first digits. A picture
        names the models that it was made with, if A1111, Forge or ComfyUI saved it: by digests where it
        has them, otherwise by the names of files.

        Args:
            what: 8 to 64 hexadecimal digits, or the path of a checkpoint, a LoRA file or a picture.
            progress: Called as a file is hashed.

        Returns:
            The versions and bases, and by what they were found; none if nothing is known.

        Raises:
            InvalidArgument: It is neither a digest nor a file, or a picture that names no model.

        Example:
            >>> digest = registry.version("subject-42@1").source.sha256
            >>> registry.find(digest[:10]).matches[0].name
            'subject-42@1'
        """
        from ..find import find

        return find(what, self.repository, progress)

    def history(self, model: str) -> list[VersionRecord]:
        """List every version that a model ever had, removed ones too, newest last.

        Example:
            >>> [version.number for version in registry.history("subject-42")]
            [1, 2]
        """
        return self.repository.catalog.history(model)

    def report(self, ref: str) -> Report:
        """Account for every tensor of a version: its kind, rank, error and bytes. No tensor is read.

        Raises:
            ContainerError: The container is damaged.

        Example:
            >>> report = registry.report("subject-42")
            >>> report.total == sum(row.tensors for row in report.kinds)
            True
        """
        from ..accounts.report import report_of_version

        version = self.version(ref)
        return report_of_version(version, self.repository.base_of(version), self.repository)

    def diff(self, left: str, right: str, *, progress: Progress = silent) -> Difference:
        """Compare the deltas of two versions, from their factors.

        Args:
            left: A ref.
            right: Another ref.
            progress: Called as the work goes on.

        Raises:
            ContainerError: A container is damaged.

        Example:
            >>> registry.diff("subject-42@1", "subject-42@1").distance
            0.0
        """
        from ..accounts.diff import difference_of_versions

        versions = self.version(left), self.version(right)
        return difference_of_versions(*versions, self.repository, progress)

    def diff_base(self, ref: str, *, progress: Progress = silent) -> list[BaseDifference]:
        """Compare each tensor of a version with its base; a lossless version gives its exact source.

        Raises:
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> max(row.change for row in registry.diff_base("subject-42")) > 0
            True
        """
        from ..accounts.diff import differences_from_base

        return differences_from_base(self.version(ref), self.repository, progress)

    def curve(
        self,
        source: str | Path,
        *,
        base: str | None = None,
        taus: Sequence[float] | None = None,
        keep_noise: bool = False,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> Curve:
        """Find bytes, error and ranks at several taus, as a help to choose one. Nothing is stored.

        Args:
            source: A checkpoint or a ref. Each tensor of a checkpoint is decomposed once, and encoded
                at each tau as `add` would. For a ref, the container alone gives the bytes that its
                own and lower taus read, with estimated errors.
            base: The base of a checkpoint.
            taus: The taus; default: eight of them.
            keep_noise: As in `AddOptions`, for a checkpoint.
            device: As in `AddOptions`, for a checkpoint.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: `source` may be a file or a ref, or an option is not for it.
            CheckpointError: The checkpoint is damaged.
            BaseMismatch: The base is of another family, or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> [point.tau for point in registry.curve("subject-42", taus=[0.2, 0.5]).points]
            [0.2, 0.5]
        """
        from ..accounts.curve import curve

        return curve(source, base, taus, keep_noise, device, self.repository, progress)
