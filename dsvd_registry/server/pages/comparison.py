"""The page with two versions side by side, and what differs between their deltas."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...catalog import VersionRecord
from ...registry.describing.attachments import preview_of
from ..operations import Serving, looked_up
from .block_map import block_map
from .page import show
from .version import readable

ROWS = 40


def comparison(serving: Serving, request: Request) -> Response:
    """The page of two refs; without both, the form that asks for them."""
    asked = [request.query_params.get(side, "").strip() for side in ("left", "right")]
    if not all(asked):
        return show(request, "comparison", asked=asked, versions=[])
    versions: list[VersionRecord] = [
        looked_up("version", lambda ref=ref: serving.registry.version(ref))  # type: ignore[misc]
        for ref in asked
    ]
    found = readable(lambda: serving.registry.diff(versions[0].ref, versions[1].ref), versions[0])
    known = [row for row in found.tensors if row.distance is not None] if found else []
    return show(
        request,
        "comparison",
        asked=asked,
        versions=versions,
        previews=[preview_of(serving.registry.attachments(one.ref)) for one in versions],
        found=found,
        map=block_map(found.tensors) if found else None,
        rows=sorted(known, key=lambda row: -(row.apart or 0.0))[:ROWS],
        known=len(known),
    )
