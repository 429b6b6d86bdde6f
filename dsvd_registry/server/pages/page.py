"""A page as a response: a template filled with values, and the policy that lets no foreign code run."""

from __future__ import annotations

import functools
import importlib.resources
import mimetypes
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import Response

from ... import __version__, number_format
from ...errors import NotFound
from ...registry.accounts import version_text
from ..operations import Serving

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
STATIC = ("pages.css", "pages.js", "icon.svg")


def show(request: Request, name: str, /, status_code: int = 200, **values: Any) -> Response:
    """The page that a template makes of values, with what every page has."""
    serving: Serving = request.app.state.serving
    session = serving.sessions.named_by(request.headers.get("cookie", ""))
    text = (
        _templates()
        .get_template(f"{name}.html")
        .render(
            page=name,
            form_token="" if session is None else serving.sessions.form_token(session),
            may_write=serving.settings.write and session is not None,
            has_tokens=serving.settings.tokens is not None,
            version_of_server=__version__,
            **values,
        )
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return Response(text, status_code, headers, "text/html")


def static(_serving: Serving, request: Request) -> Response:
    """A file of the pages themselves. Raises `NotFound`."""
    name = request.path_params["name"]
    if name not in STATIC:
        raise NotFound("there is no such file")
    data = importlib.resources.files(__package__).joinpath("static", name).read_bytes()
    kind = mimetypes.guess_type(name)[0]
    return Response(data, headers={"Cache-Control": "no-cache"}, media_type=kind)


def is_asked_for(request: Request) -> bool:
    """True if the client is a browser that wants to show the answer."""
    return "text/html" in request.headers.get("accept", "")


def link(path: str, **query: object) -> str:
    """A path of this server, with each part and each value of the query escaped."""
    asked = urlencode({name: value for name, value in query.items() if value not in (None, "")})
    return quote(path, safe="/@") + (f"?{asked}" if asked else "")


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": number_format.size,
        "count": number_format.count,
        "counted": number_format.counted,
        "relative": number_format.relative,
        "share": number_format.share,
        "day": _day,
        "moment": _moment,
        "base_name": version_text.base_name,
        "fidelity": version_text.fidelity,
        "error_of": version_text.error,
        "autov2": version_text.short_form,
    }
    environment.globals |= {"link": link, "ratio": number_format.ratio}
    return environment


def _day(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d")


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
