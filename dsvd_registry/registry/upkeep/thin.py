"""Dropping of what makes a version lossless: its residual, or its original."""

from __future__ import annotations

from dataclasses import dataclass

from ...catalog import VersionRecord
from ...container.records import QuantisedRecord
from ...errors import Conflict
from ..repository import Repository


@dataclass(frozen=True)
class Thinned:
    """A version that was made lossy, and the bytes that `gc` can free for it."""

    version: VersionRecord
    freed_bytes: int


def thin(version: VersionRecord, repository: Repository) -> Thinned:
    """Drop what makes a version lossless.

    Raises `NotFound` for a lossy version, `Conflict` if archived files need it, or if it has
    quantised weights, of which nothing but the base's would be left.
    """
    catalog = repository.catalog
    if version.residual is not None:
        with repository.open_container(version) as container:
            quantised = sum(isinstance(t, QuantisedRecord) for t in container.header.tensors)
        if quantised:
            raise Conflict(
                f"{quantised} tensors of {version.ref} are quantised weights, which are lossless only",
                "Remove the version instead, or add the weights in full precision beside it.",
            )
    if version.original is not None:
        thinned = catalog.remove_original(version.model, version.number)
    else:
        thinned = catalog.remove_residual(version.model, version.number)
    needed = {sha256 for other in catalog.versions() for sha256 in other.objects}
    dropped = version.objects.items() - thinned.objects.items()
    return Thinned(thinned, sum(size for sha256, size in dropped if sha256 not in needed))
