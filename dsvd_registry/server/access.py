"""The gate before every operation: who may ask, by which name, and what every answer carries."""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .operations import Serving
from .pages.page import STATIC
from .pages.sign_in import sign_in_link

OPEN_PATHS = frozenset({"/healthz", "/sign-in", *(f"/static/{name}" for name in STATIC)})
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_PORT = re.compile(r":[0-9]{1,5}$")


class Gate:
    """An ASGI application that passes on to another what may pass, and counts every answer."""

    def __init__(self, inner: ASGIApp, serving: Serving) -> None:
        self._inner = inner
        self._settings = serving.settings
        self._metrics = serving.metrics
        self._sessions = serving.sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)  # a page has a policy of its own
                route = scope.get("state", {}).get("route", "none")
                method = scope["method"] if route != "none" else "any"
                self._metrics.requests.labels(route, method, str(message["status"])).inc()
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._inner)(scope, receive, counted)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        allowed = self._settings.allowed_hosts
        if allowed is not None and _PORT.sub("", headers.get("host", "")).lower() not in allowed:
            return _refused(421, "this server does not answer to that name")
        tokens = self._settings.tokens
        if tokens is None or scope["path"] in OPEN_PATHS:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and tokens.accept(token.strip().encode("latin-1")):
            return None
        if self._sessions.named_by(headers.get("cookie", "")) is not None:
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(sign_in_link(scope["path"], query), 303)
        return _refused(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"error": message, "type": "Refused", "hint": ""}
    return JSONResponse(body, status_code=status, headers=headers)
