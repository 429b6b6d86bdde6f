"""The page of the last verification: what was looked at, and what is damaged."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..operations import Serving
from .forms import owned_form
from .page import show

ROWS = 500


def findings(serving: Serving, request: Request) -> Response:
    """The page of what this server found when it last verified the registry."""
    last = serving.verifications.last
    found = () if last is None or last.verified is None else last.verified.findings
    folder = f"{serving.registry.folder}/"  # where the registry lies concerns nobody who reads this
    return show(
        request,
        "findings",
        last=last,
        running=serving.verifications.running,
        rows=[(row.subjects, row.problem.replace(folder, "")) for row in found[:ROWS]],
        found=len(found),
    )


async def verify(serving: Serving, request: Request) -> Response:
    """Begin to verify the registry, and show how far it is."""
    if not serving.settings.write:
        raise HTTPException(403, "this server was started without --write")
    await owned_form(serving, request)
    serving.verifications.begin(serving.registry)
    return RedirectResponse("/findings", 303)
