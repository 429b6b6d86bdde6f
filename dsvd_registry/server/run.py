"""The server as a process: its socket, its limits on connections, its log, its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import Conflict, InvalidArgument, StorageError
from ..registry.registry import Registry
from .app import make_app, make_serving
from .settings import Settings

HEADER_SECONDS = 10.0  # in which a request line and its headers must come
LARGEST_HEADER = 1 << 14  # bytes; up to twice as many may be read
MOST_CONNECTIONS = 512
GRACE_SECONDS = 5


class Connection(H11Protocol):
    """A connection that is closed if no whole request comes in time, and can be cut off."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app_state = {**self.app_state, "abort": self._abort}
        self._request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        # In parts: h11 holds a header to its limit only while the end of it has not come.
        for first in range(0, len(data), LARGEST_HEADER):
            if self.transport.is_closing():
                return
            super().data_received(data[first : first + LARGEST_HEADER])
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._request_timer is None:
            self._wait_for_request()

    def send_400_response(self, msg: str) -> None:
        # A body may break the protocol while its request is answered. uvicorn would answer twice,
        # which fails with a traceback.
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self._abort()
                return
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        self._request_timer = self.loop.call_later(HEADER_SECONDS, self._abort)

    def _stop_waiting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _abort(self) -> None:
        self.transport.abort()


def serve(
    registry: Registry,
    settings: Settings,
    listening: Callable[[str], None],
    catalog: str | None = None,
) -> None:
    """Serve a registry until the process is told to end; `listening` gets the address first.

    `catalog`: the URL of the registry's catalog, if it was opened with one.

    Raises `Conflict` if the port is taken, `InvalidArgument` for an address that is not this
    machine's.
    """
    serving = make_serving(registry, settings, catalog)
    config = uvicorn.Config(
        make_app(serving),
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=LARGEST_HEADER,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _log_to_stderr()
    with _listen(settings) as bound:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        listening(f"http://{host}:{bound.getsockname()[1]}")
        try:
            # uvicorn repeats the signal that ended it, which the program takes for an interrupt.
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[bound])
        finally:
            serving.adapters.close()
            serving.checkpoints.close()


def _listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise InvalidArgument(
            f"{settings.host!r} is not an address", "Give an IP address."
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(MOST_CONNECTIONS)
    except OSError as error:
        bound.close()
        place = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"{place} is taken", "Choose another port with --port.") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidArgument(
                f"{settings.host} is no address of this machine", "Give another with --host."
            ) from error
        raise StorageError(f"cannot listen at {place}: {error.strerror}") from error
    return bound


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("dsvd_registry.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
