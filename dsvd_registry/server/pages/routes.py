"""The addresses of the pages."""

from __future__ import annotations

from dataclasses import dataclass

from ..operations import Handler, from_catalog, from_contents
from .bases import bases
from .comparison import comparison
from .edits import edit
from .findings import findings, verify
from .home import home
from .mark import mark
from .page import static
from .sign_in import sign_in, sign_in_page, sign_out
from .storage import storage
from .version import version_page


@dataclass(frozen=True)
class PageRoute:
    """A page at an address. Pages are for people: they are not in the OpenAPI document."""

    path: str
    handler: Handler
    method: str = "GET"


def page_routes() -> tuple[PageRoute, ...]:
    """Every page, and the files that they are made of."""
    return (
        PageRoute("/", from_catalog(home)),
        PageRoute("/versions/{ref}", from_contents(version_page)),
        PageRoute("/versions/{ref}/{edit}", edit, "POST"),
        PageRoute("/compare", from_contents(comparison)),
        PageRoute("/bases", from_contents(bases)),
        PageRoute("/storage", from_contents(storage)),
        PageRoute("/findings", from_catalog(findings)),
        PageRoute("/findings", verify, "POST"),
        PageRoute("/sign-in", sign_in_page),
        PageRoute("/sign-in", sign_in, "POST"),
        PageRoute("/sign-out", sign_out, "POST"),
        PageRoute("/marks/{sha256}.svg", from_catalog(mark)),
        PageRoute("/static/{name}", from_catalog(static)),
    )
