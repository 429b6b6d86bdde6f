"""The application: every operation on its route, and every error as an answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..cache import find_cache
from ..errors import Conflict, DsvdError, InvalidArgument, NotFound, TauNotServed
from ..registry.registry import Registry
from ..registry.results.lora_files import LoraMaker
from . import api, attachments, hub, openapi
from .access import Gate
from .adapters import Adapters
from .body import BodyTooLarge, BodyTooSlow
from .checkpoints import Checkpoints
from .hub_names import EntryNotFound, HubNames, RepositoryNotFound, RevisionNotFound
from .metrics import Metrics
from .operations import Handler, Operation, Serving
from .pages import page
from .pages.routes import page_routes
from .sessions import Sessions
from .settings import Settings
from .verification import Verifications
from .work import Busy, Work

RETRY_AFTER = "5"  # seconds
_LOG = logging.getLogger("dsvd_registry.server")
_HUB_CODES: dict[type[Exception], str] = {
    RepositoryNotFound: "RepoNotFound",
    RevisionNotFound: "RevisionNotFound",
    EntryNotFound: "EntryNotFound",
}


def make_serving(registry: Registry, settings: Settings, catalog: str | None) -> Serving:
    """Everything that operations on a registry share.

    `catalog`: the URL of its catalog if one was given, for the process that makes adapters.
    """
    metrics = Metrics()
    work = Work(settings.at_once, settings.wait, metrics)
    maker = LoraMaker(registry.name, catalog, find_cache(None, None, os.environ))
    return Serving(
        settings,
        registry,
        Checkpoints(registry),
        Adapters(maker),
        HubNames(registry),
        work,
        metrics,
        Sessions(),
        Verifications(),
    )


def make_app(serving: Serving) -> ASGIApp:
    """The ASGI application of a server."""
    operations = (*api.operations(), *attachments.operations(), *hub.operations())
    described = openapi.document(operations)

    async def description(_request: Request) -> Response:
        return JSONResponse(described)

    application = Starlette(
        routes=[
            *_routes(operations, serving),
            *_page_routes(serving),
            Route(api.OPENAPI_PATH, description, methods=["GET"]),
        ],
        exception_handlers={
            DsvdError: _failed,
            HTTPException: _refused,
            Busy: _busy,
            BodyTooLarge: _body_refused,
            BodyTooSlow: _body_refused,
            ClientDisconnect: _unheard,
        },
    )
    application.router.redirect_slashes = False
    application.state.serving = serving
    return Gate(application, serving)


def _routes(operations: Sequence[Operation], serving: Serving) -> list[Route]:
    return [_route(operation, serving) for operation in operations if operation.method != "HEAD"]


def _route(operation: Operation, serving: Serving) -> Route:
    path = operation.path
    for parameter in operation.parameters:
        if parameter.takes_slashes:
            path = path.replace(f"{{{parameter.name}}}", f"{{{parameter.name}:path}}")
    answer = _answering(operation.handler, operation.path, serving)
    return Route(path, answer, methods=[operation.method])


def _page_routes(serving: Serving) -> list[Route]:
    return [
        Route(one.path, _answering(one.handler, one.path, serving), methods=[one.method])
        for one in page_routes()
    ]


def _answering(
    handler: Handler, route: str, serving: Serving
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        request.state.route = route
        return await handler(serving, request)

    return answer


async def _failed(request: Request, error: Exception) -> Response:
    """The answer to an error. What is damaged is named in the log, with its path on this machine."""
    assert isinstance(error, DsvdError)
    if isinstance(error, NotFound | TauNotServed):
        return _error(request, 404, error, str(error), error.hint)
    if isinstance(error, InvalidArgument):
        return _error(request, 400, error, str(error), error.hint)
    if isinstance(error, Conflict):
        return _error(request, 409, error, str(error), error.hint)
    _LOG.error("%s: %s", type(error).__name__, error)
    return _error(
        request, 500, error, "the registry cannot give this; its server's log says why", ""
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(request, error.status_code, error, error.detail, "", error.headers)


async def _busy(request: Request, error: Exception) -> Response:
    message = "too many requests make bytes at the moment"
    return _error(request, 503, error, message, "Try again later.", {"Retry-After": RETRY_AFTER})


async def _body_refused(request: Request, error: Exception) -> Response:
    # The rest of the body is not read, so nothing else can come over this connection.
    status, message = (413, "the body is too large")
    if isinstance(error, BodyTooSlow):
        status, message = (408, "the body did not come")
    return _error(request, status, error, message, "", {"Connection": "close"})


async def _unheard(_request: Request, _error: Exception) -> Response:
    """The answer to a client that left before its body was here. Nobody gets it."""
    return Response(status_code=400)


def _error(
    request: Request,
    status: int,
    error: Exception,
    message: str,
    hint: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = {"error": message, "type": type(error).__name__, "hint": hint}
    code = _HUB_CODES.get(type(error))
    more = dict(headers or {})
    if code is not None:
        more |= {"X-Error-Code": code, "X-Error-Message": message}
    if page.is_asked_for(request):
        response = page.show(
            request, "error", status_code=status, status=status, message=message, hint=hint
        )
        response.headers.update(more)
        return response
    return JSONResponse(body, status_code=status, headers=more)
