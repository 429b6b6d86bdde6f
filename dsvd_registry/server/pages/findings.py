"""The page of the last verification: what was looked at, and what is damaged."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..operations import Serving
from .forms import owned_form
from .page import show


def findings(serving: Serving, request: Request) -> Response:
    """The page of what was found when the registry was last verified, here or on the command line."""
    last = serving.registry.last_verified()
    kept = () if last is None else last.verified.findings
    folder = f"{serving.registry.name}/"  # where the registry lies concerns nobody who reads this
    return show(
        request,
        "findings",
        last=last,
        running=serving.verifications.running,
        stopped=serving.verifications.stopped,
        rows=[(row.subjects, row.problem.replace(folder, "")) for row in kept],
    )


async def verify(serving: Serving, request: Request) -> Response:
    """Begin to verify the registry, and show how far it is."""
    if not serving.settings.write:
        raise HTTPException(403, "this server was started without --write")
    await owned_form(serving, request)
    serving.verifications.begin(serving.registry)
    return RedirectResponse("/findings", 303)
