"""The page of the bases: what family each is of, and what is stored against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from ...catalog import AttachmentRecord, BaseRecord, VersionRecord, Wanted
from ...checkpoint import TensorInfo
from ...errors import DsvdError
from ...layouts.families import describe
from ..hub_names import BASES, hub_name
from ..operations import Serving
from .page import show

NEWEST = 6


@dataclass(frozen=True)
class ShownBase:
    """A base, its family and layout, its id on the hub, and its newest versions.

    `description`: empty if its manifest is damaged. `versions`: the number of all its versions.
    """

    base: BaseRecord
    description: str
    tensors: int
    parameters: int
    hub_id: str
    newest: tuple[VersionRecord, ...]
    previews: Mapping[str, AttachmentRecord]
    versions: int


def bases(serving: Serving, request: Request) -> Response:
    """The page of all bases, by name."""
    return show(request, "bases", bases=[_shown(serving, b) for b in serving.registry.bases()])


def _shown(serving: Serving, base: BaseRecord) -> ShownBase:
    catalog = serving.registry.repository.catalog
    found = catalog.page(Wanted(base=base.digest, newest_only=False), 0, NEWEST)
    try:
        rows = serving.registry.repository.manifest(base).tensors
    except DsvdError:
        rows = ()
    tensors = {row.name: TensorInfo(row.name, row.dtype, row.shape) for row in rows}
    return ShownBase(
        base=base,
        description=str(describe(tensors)) if tensors else "",
        tensors=len(tensors),
        parameters=sum(tensor.elements for tensor in tensors.values()),
        hub_id=f"{BASES}/{hub_name(base.name)}",
        newest=found.versions,
        previews=found.previews,
        versions=found.total,
    )
