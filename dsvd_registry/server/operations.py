"""An operation of the server: a method on a path, what it takes, what it answers, and who does it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import InvalidArgument, NotFound
from ..registry.accounts.documents import plain
from ..registry.registry import Registry
from .adapters import Adapters
from .checkpoints import Checkpoints
from .hub_names import HubNames
from .metrics import Metrics
from .sessions import Sessions
from .settings import Settings
from .verification import Verifications
from .work import Work

Schema = Mapping[str, Any]
LARGEST_PAGE, PAGE = 200, 50


@dataclass(frozen=True)
class Serving:
    """The objects that every operation works with."""

    settings: Settings
    registry: Registry
    checkpoints: Checkpoints
    adapters: Adapters
    hub: HubNames
    work: Work
    metrics: Metrics
    sessions: Sessions
    verifications: Verifications


Handler = Callable[[Serving, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Parameter:
    """A parameter in the path or the query. One with `takes_slashes` is the rest of the path."""

    name: str
    description: str
    schema: Schema
    place: str = "query"
    takes_slashes: bool = False
    is_required: bool = False


@dataclass(frozen=True)
class Operation:
    """An operation. `answers`: what the body is, by status: a schema or, as text, a media type."""

    path: str
    summary: str
    handler: Handler
    answers: Mapping[int, Schema | str]
    parameters: tuple[Parameter, ...] = ()
    method: str = "GET"
    body: Schema | None = field(default=None)


Answering = Callable[[Serving, Request], object]


def from_catalog(answer: Answering) -> Handler:
    """A handler that answers with a document from quick questions to the catalog."""

    async def handle(serving: Serving, request: Request) -> Response:
        document = await anyio.to_thread.run_sync(functools.partial(answer, serving, request))
        return document if isinstance(document, Response) else JSONResponse(plain(document))

    return handle


def from_contents(answer: Answering) -> Handler:
    """A handler that reads containers or bases for its document, and waits for its turn to do so."""

    async def handle(serving: Serving, request: Request) -> Response:
        document = await serving.work.begin(functools.partial(answer, serving, request))
        return document if isinstance(document, Response) else JSONResponse(plain(document))

    return handle


def integer(request: Request, name: str, default: int, lowest: int, highest: int) -> int:
    """A whole number of the query. Raises `InvalidArgument`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 12):
        raise InvalidArgument(f"{name} is not a whole number")
    if not lowest <= int(text) <= highest:
        raise InvalidArgument(f"{name} is not from {lowest} to {highest}")
    return int(text)


def page_size(request: Request) -> int:
    """The number of entries that a page may have."""
    return integer(request, "limit", PAGE, 1, LARGEST_PAGE)


def looked_up(what: str, find: Callable[[], Any]) -> Any:
    """Find by a name in a path, as `find` does. A name that breaks a rule is one that does not exist."""
    try:
        return find()
    except InvalidArgument:
        raise NotFound(f"there is no such {what}") from None
