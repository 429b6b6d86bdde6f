"""The gate before every operation: who may ask, by which name, and what every answer carries."""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics
from .settings import Settings

OPEN_PATHS = frozenset({"/healthz"})
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_PORT = re.compile(r":[0-9]{1,5}$")


class Gate:
    """An ASGI application that passes on to another what may pass, and counts every answer."""

    def __init__(self, inner: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._inner = inner
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY)
                route = scope.get("state", {}).get("route", "none")
                method = scope["method"] if route != "none" else "any"
                self._metrics.requests.labels(route, method, str(message["status"])).inc()
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        await (refusal or self._inner)(scope, receive, counted)

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        allowed = self._settings.allowed_hosts
        if allowed is not None and _PORT.sub("", headers.get("host", "")).lower() not in allowed:
            return _refused(421, "this server does not answer to that name")
        tokens = self._settings.tokens
        if tokens is None or path in OPEN_PATHS:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and tokens.accept(token.strip().encode("latin-1")):
            return None
        return _refused(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"error": message, "type": "Refused", "hint": ""}
    return JSONResponse(body, status_code=status, headers=headers)
