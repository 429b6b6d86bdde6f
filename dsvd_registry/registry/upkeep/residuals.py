"""The residuals of versions: opened, and made for a version that lacks one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ...catalog import BaseRecord, NewVersion, ResidualRecord, Source, VersionRecord
from ...checkpoint import Checkpoint
from ...encoding.request import LosslessRequest, without_weights
from ...errors import ContainerError, DsvdError, RegistryError, ResultMismatch, UnsupportedFeature
from ...progress import Progress
from ..repository import Repository

if TYPE_CHECKING:
    from ...reconstruction.lossless import Lossless
    from ...residual.reader import Residual


def is_for_lossless(settings: str) -> bool:
    """True if no fidelity was requested: the ranks then need the fewest bytes with a residual."""
    return without_weights(settings) == LosslessRequest().settings()


def at_tau(version: VersionRecord, tau: float | None) -> VersionRecord:
    """The version; with a `tau`, without its residual, because then the container alone counts."""
    return version if tau is None else replace(version, residual=None)


@contextlib.contextmanager
def open_lossless(version: VersionRecord, repository: Repository) -> Iterator[Lossless | None]:
    """The open residual of a version, with its container; None if it is lossy.

    Raises as `open_residual`.
    """
    if version.residual is None:
        yield None
        return
    from ...reconstruction.lossless import Lossless

    with open_residual(version, version.residual, repository) as residual:
        yield Lossless(residual, version.container)


@contextlib.contextmanager
def open_residual(
    version: VersionRecord, record: ResidualRecord, repository: Repository
) -> Iterator[Residual]:
    """The open residual of a version, closed on leaving.

    Raises `RegistryError` if the residual is missing or damaged, even if that shows only inside the
    `with` block; `ContainerError` or `ResultMismatch` if the object is whole but wrong. The hint of
    each error says what the container alone still gives.
    """
    from ...residual.reader import Residual

    with (
        residual_errors(version, record, repository),
        Residual(repository.objects.open(record.sha256)) as residual,
    ):
        yield residual


@contextlib.contextmanager
def residual_errors(
    version: VersionRecord, record: ResidualRecord | None, repository: Repository
) -> Iterator[None]:
    """Turn errors of reading the residual inside the `with` block into those of `open_residual`."""
    if record is None:
        yield
        return
    try:
        yield
    except (ContainerError, RegistryError, ResultMismatch) as error:
        cause = _residual_error(error, version, record, repository)
        if cause is None:
            raise
        raise cause from error


def _residual_error(
    error: DsvdError, version: VersionRecord, record: ResidualRecord, repository: Repository
) -> DsvdError | None:
    """The error to raise if the residual caused `error`; None if it did not."""
    what = f"the residual of {version.ref}, object {record.sha256},"
    if not repository.objects.is_whole(record.sha256):
        state = "is damaged" if repository.objects.contains(record.sha256) else "is missing"
        return RegistryError(f"{what} {state}: {error}", _remaining_hint(version))
    if isinstance(error, RegistryError | UnsupportedFeature):
        return None
    if not repository.objects.is_whole(version.container):
        return None
    return type(error)(f"{what} does not give its source: {error}", _remaining_hint(version))


def _remaining_hint(version: VersionRecord) -> str:
    """The hint for a version whose residual cannot be read."""
    tau = version.summary.get("tau")
    return (
        f"The lossy result of its container is still available: `dsvd materialize {version.ref} "
        f"--tau {tau}`. Add the source again with --lossless to restore the residual."
    )


def residual_of(
    version: VersionRecord | NewVersion,
    checkpoint: Checkpoint,
    base: BaseRecord,
    device: str,
    repository: Repository,
    progress: Progress,
) -> ResidualRecord:
    """The residual of a version, made from `checkpoint`, its source, unless the store has it.

    Raises `BaseMismatch`, `ContainerError`, `CheckpointError`, `StorageError`.
    """
    known = _known(version, repository)
    if known is not None:
        return known
    from ...container.reader import Container
    from ...encoding.residual import Lossy, store_residual

    with (
        repository.open_base(base) as weights,
        Container(repository.objects.open(version.container)) as container,
    ):
        lossy = Lossy(container, version.container, weights, is_for_lossless(version.settings))
        stored = store_residual(checkpoint, lossy, device, repository.objects, progress)
    return ResidualRecord(stored.sha256, stored.size)


def attach_residual(
    version: VersionRecord, record: ResidualRecord, repository: Repository
) -> VersionRecord:
    """Record a stored residual for a version, which is lossless from then on."""
    restored = (
        {}
        if version.residual == record
        else digests_of_restored(record, version.source, repository)
    )
    return repository.catalog.set_residual(
        version.model,
        version.number,
        residual=record.sha256,
        size=record.size,
        digests={"restored": restored},
        confirm=lambda: repository.objects.require(record.sha256),
    )


def digests_of_restored(
    record: ResidualRecord, source: Source, repository: Repository
) -> dict[str, dict[str, str]]:
    """The SHA-256 of each file that comes back, by path and kind; nothing if that is the source.

    Raises `RegistryError`, `ContainerError` if the residual cannot be read.
    """
    from ...residual.reader import Residual

    with Residual(repository.objects.open(record.sha256)) as residual:
        results = residual.header.results
    if source.format == "diffusers":
        return {file.path: {"sha256": file.sha256} for file in results}
    (file,) = results
    return {} if file.sha256 == source.sha256 else {"": {"sha256": file.sha256}}


def _known(version: VersionRecord | NewVersion, repository: Repository) -> ResidualRecord | None:
    """The residual of the version, or of another version with the same container, if it is whole."""
    own = [version.residual] if isinstance(version, VersionRecord) else []
    same = repository.catalog.find_digest(version.container)
    others = [found.version.residual for found in same if found.part == "container"]
    for found in own + others:
        if found is not None and repository.objects.is_whole(found.sha256):
            return found
    return None
