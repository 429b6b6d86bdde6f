"""Residuals of versions: opened, made for a version that lacks one, and dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..catalog import BaseRecord, ResidualRecord, VersionRecord
from ..checkpoint import Checkpoint
from ..encoding.request import LosslessRequest
from ..errors import ContainerError, DsvdError, RegistryError, ResultMismatch, UnsupportedFeature
from ..progress import Progress
from .chosen_weights import without_weights
from .repository import Repository

if TYPE_CHECKING:
    from ..reconstruction.lossless import Lossless
    from ..residual.reader import Residual


@dataclass(frozen=True)
class Thinned:
    """A version whose residual was dropped, and the bytes that `gc` will give back for it."""

    version: VersionRecord
    freed_bytes: int


def is_for_lossless(version: VersionRecord) -> bool:
    """Whether nobody asked for a fidelity: its ranks take the least together with a residual."""
    return without_weights(version.settings) == LosslessRequest().settings()


def at_tau(version: VersionRecord, tau: float | None) -> VersionRecord:
    """The version; for who asks for a `tau`, as its container alone has it."""
    return version if tau is None else replace(version, residual=None)


@contextlib.contextmanager
def opened_lossless(version: VersionRecord, repository: Repository) -> Iterator[Lossless | None]:
    """What makes a version lossless; None for a lossy one. Raises as `opened_residual`."""
    if version.residual is None:
        yield None
        return
    from ..reconstruction.lossless import Lossless

    with opened_residual(version, version.residual, repository) as residual:
        yield Lossless(residual, version.container)


@contextlib.contextmanager
def opened_residual(
    version: VersionRecord, record: ResidualRecord, repository: Repository
) -> Iterator[Residual]:
    """The residual of a version.

    Where it is missing or damaged, also where that shows inside only, raises `RegistryError`; where
    it is whole and not what it should be, `ContainerError` or `ResultMismatch`. Each says what can
    still be had.
    """
    from ..residual.reader import Residual

    with (
        telling(version, record, repository),
        Residual(repository.objects.path(record.sha256)) as residual,
    ):
        yield residual


@contextlib.contextmanager
def telling(
    version: VersionRecord, record: ResidualRecord | None, repository: Repository
) -> Iterator[None]:
    """Where a version's residual is read: its errors are told as those of `opened_residual` are."""
    if record is None:
        yield
        return
    try:
        yield
    except (ContainerError, RegistryError, ResultMismatch) as error:
        told = _told(error, version, record, repository)
        if told is None:
            raise
        raise told from error


def _told(
    error: DsvdError, version: VersionRecord, record: ResidualRecord, repository: Repository
) -> DsvdError | None:
    """What to say where reading over a residual ended in `error`; None if it is not the residual's."""
    what = f"the residual of {version.ref}, object {record.sha256},"
    if not repository.objects.is_whole(record.sha256):
        state = "is damaged" if repository.objects.contains(record.sha256) else "is missing"
        return RegistryError(f"{what} {state}: {error}", left(version))
    if isinstance(error, RegistryError | UnsupportedFeature):
        return None
    if not repository.objects.is_whole(version.container):
        return None
    return type(error)(f"{what} does not give its source: {error}", left(version))


def left(version: VersionRecord) -> str:
    """What can be had of a version without its residual."""
    tau = version.summary.get("tau")
    return (
        f"What its container alone gives can still be had: `dsvd materialize {version.ref} "
        f"--tau {tau}`. Add its source again with --lossless to have all of it."
    )


def residual_of(
    version: VersionRecord,
    checkpoint: Checkpoint,
    base: BaseRecord,
    device: str,
    repository: Repository,
    progress: Progress,
) -> ResidualRecord:
    """The residual of a version, made from `checkpoint`, its source, unless it is there.

    Raises `BaseMismatch`, `ContainerError`, `CheckpointError`, `StorageError`.
    """
    known = _known(version, repository)
    if known is not None:
        return known
    from ..encoding.residual import Lossy, store_residual

    with repository.open_base(base) as weights, repository.open_container(version) as container:
        lossy = Lossy(container, version.container, weights, is_for_lossless(version))
        stored = store_residual(checkpoint, lossy, device, repository.objects, progress)
    return ResidualRecord(stored.sha256, stored.size)


def attach_residual(
    version: VersionRecord, record: ResidualRecord, repository: Repository
) -> VersionRecord:
    """Let a version be lossless by a residual that is in the store."""
    return repository.catalog.set_residual(
        version.model,
        version.number,
        residual=record.sha256,
        size=record.size,
        confirm=lambda: repository.objects.path(record.sha256),
    )


def thin(version: VersionRecord, repository: Repository) -> Thinned:
    """Drop a version's residual. Raises `NotFound` where it has none."""
    thinned = repository.catalog.remove_residual(version.model, version.number)
    freed = version.residual
    others = {v.residual.sha256 for v in repository.catalog.versions() if v.residual is not None}
    is_freed = freed is not None and freed.sha256 not in others
    return Thinned(thinned, freed.size if freed is not None and is_freed else 0)


def _known(version: VersionRecord, repository: Repository) -> ResidualRecord | None:
    """The version's own, or that of another version with the same container, if it is whole."""
    for other in (version, *repository.catalog.versions()):
        found = other.residual if other.container == version.container else None
        if found is not None and repository.objects.is_whole(found.sha256):
            return found
    return None
