"""The curve of a checkpoint or of a version: bytes, error and ranks at several taus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..catalog import VersionRecord
from ..encoding.request import DEFAULT_TAUS, checked_taus
from ..errors import InvalidArgument
from ..progress import Progress
from .curve_points import Curve
from .file_or_version import file_or_version
from .repository import Repository


def curve(
    source: str | Path,
    base: str | None,
    taus: Sequence[float] | None,
    keep_noise: bool,
    device: str,
    repository: Repository,
    progress: Progress,
) -> Curve:
    """The curve of the checkpoint or version that `source` names; see `Registry.curve`."""
    chosen = None if taus is None else checked_taus(taus)
    file = file_or_version(source, base, repository)
    if isinstance(file, VersionRecord):
        if keep_noise:
            raise InvalidArgument(
                f"the noise of {file.ref} was kept or left out when it was added",
                "Leave keep_noise out, or give the file.",
            )
        return _of_version(file, chosen, repository)
    from .curve_of_file import curve_of_file  # imports torch, which the curve of a version spares

    record = repository.catalog.base(base or "")
    return curve_of_file(
        file, record, chosen or DEFAULT_TAUS, keep_noise, device, repository, progress
    )


def _of_version(
    version: VersionRecord, taus: Sequence[float] | None, repository: Repository
) -> Curve:
    from .curve_of_version import curve_of_version

    with repository.open_container(version) as container:
        stored = container.header.encoding.tau
        lower = (*(tau for tau in DEFAULT_TAUS if tau < stored), stored)
        name = version.base_name or version.base
        return curve_of_version(version.ref, name, container, taus or lower)
