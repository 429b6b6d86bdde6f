"""A file as a response: whole or in ranges, made while it is sent, broken off when damage is met."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import anyio
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from ..errors import DsvdError
from .byte_ranges import NotSatisfiable, byte_ranges
from .checkpoints import ReadableFile, ServedFile
from .metrics import Metrics
from .work import Work

CHUNK = 1 << 20
SLOWEST = 60.0  # seconds in which a client must take a chunk
_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_LOG = logging.getLogger("dsvd_registry.server")


@dataclass(frozen=True)
class FileSource:
    """The origin of a file's bytes, and the line of work that it shares.

    `name`: of what the file belongs to, for the log.
    """

    work: Work
    metrics: Metrics
    name: str
    opened: Callable[[], AbstractContextManager[ReadableFile]]


class FileResponse:
    """An ASGI response with a file of a version, a base or an adapter.

    The first bytes are made before the status is sent, so that what fails at once has a status of its
    own. What fails later cannot: the connection is closed before the announced length is reached.
    """

    def __init__(self, source: FileSource, file: ServedFile, headers: Mapping[str, str]) -> None:
        self._source = source
        self._file = file
        self._headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",
            "ETag": f'"{file.tag}"',
            **headers,
        }
        self._body_headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.path.rpartition('/')[2])}",
            "Content-Type": "application/octet-stream",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan = self._plan(scope["method"], Headers(scope=scope))
        if scope["method"] == "HEAD" or not plan.length:
            await self._start(plan, send)
            await send({"type": "http.response.body"})
            return
        end = await self._send(plan, receive, send)
        if isinstance(end, Exception):
            raise end  # nothing was sent yet: it becomes a response like any other error
        if end is not None:
            self._source.metrics.broken_off.labels(end).inc()
            scope["state"]["abort"]()
            await anyio.sleep(0)

    def _plan(self, method: str, headers: Headers) -> _Plan:
        size, tag = self._file.size, self._file.tag
        known = headers.get("if-none-match", "")
        if known.strip() == "*" or tag in _TAG.findall(known):
            return _Plan(304, {}, (), None)
        whole = _Plan(200, {"Content-Length": str(size)}, ((0, size),), size)
        if method != "GET" or "range" not in headers:
            return whole
        if headers.get("if-range", f'"{tag}"') != f'"{tag}"':
            return whole
        try:
            ranges = byte_ranges(headers["range"], size)
        except NotSatisfiable:
            return _Plan(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, (), None)
        if ranges is None:
            return whole
        if len(ranges) > 1:
            return _several(ranges, size)
        ((start, end),) = ranges
        return _Plan(
            206,
            {
                "Content-Range": f"bytes {start}-{end - 1}/{size}",
                "Content-Length": str(end - start),
            },
            ((start, end),),
            end - start,
        )

    async def _start(self, plan: _Plan, send: Send) -> None:
        headers = {**self._headers, **(self._body_headers if plan.parts else {}), **plan.headers}
        coded = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()
        ]
        await send({"type": "http.response.start", "status": plan.status, "headers": coded})

    async def _send(self, plan: _Plan, receive: Receive, send: Send) -> Exception | str | None:
        """Send the parts, as long as the client is there.

        Returns None at the end, an error if nothing was sent, or the reason why it was broken off.
        """
        end: Exception | str | None = "client left"

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            with self._source.metrics.sending.track_inprogress():
                end = await self._make_and_send(plan, send)
            group.cancel_scope.cancel()
        return end

    async def _make_and_send(self, plan: _Plan, send: Send) -> Exception | str | None:
        source = self._source
        stack = contextlib.ExitStack()
        has_begun = False

        def first() -> tuple[ReadableFile, bytes]:
            file = stack.enter_context(source.opened())
            return file, file.read_at(*pieces[0]) if pieces else b""

        pieces = [piece for part in plan.parts if isinstance(part, tuple) for piece in _cut(*part)]
        try:
            with stack:
                file, made = await source.work.begin(first)
                await self._start(plan, send)
                has_begun = True
                ahead: bytes | None = made
                for part in plan.parts:
                    if isinstance(part, bytes):
                        await _send_chunk(part, send)
                        continue
                    for offset, size in _cut(*part):
                        if ahead is None:
                            read = functools.partial(file.read_at, offset, size)
                            ahead = await source.work.go_on(read)
                        source.metrics.bytes_made.inc(len(ahead))
                        await _send_chunk(ahead, send)
                        ahead = None
                await send({"type": "http.response.body"})
        except TimeoutError:
            return "client too slow"
        except Exception as error:
            if not has_begun:
                return error
            reason = str(error) if isinstance(error, DsvdError) else repr(error)
            _LOG.error("%s, %s: broken off: %s", source.name, self._file.path, reason)
            return "damage"
        return None


@dataclass(frozen=True)
class _Plan:
    """A response: its status, further headers, and its body as bytes and ranges [start, end).

    `length`: the bytes of the body; None if it has none.
    """

    status: int
    headers: Mapping[str, str]
    parts: tuple[bytes | tuple[int, int], ...]
    length: int | None


def _several(ranges: list[tuple[int, int]], size: int) -> _Plan:
    """A response with several ranges, each with its own header (RFC 9110, section 14.6)."""
    boundary = secrets.token_hex(16)
    parts: list[bytes | tuple[int, int]] = []
    for start, end in ranges:
        head = f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n"
        head += f"Content-Range: bytes {start}-{end - 1}/{size}\r\n\r\n"
        parts += [head.encode(), (start, end)]
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    length = sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in parts)
    headers = {
        "Content-Type": f"multipart/byteranges; boundary={boundary}",
        "Content-Length": str(length),
    }
    return _Plan(206, headers, tuple(parts), length)


def _cut(start: int, end: int) -> list[tuple[int, int]]:
    """The offsets and sizes of the chunks of a range."""
    return [(offset, min(CHUNK, end - offset)) for offset in range(start, end, CHUNK)]


async def _send_chunk(data: bytes, send: Send) -> None:
    """Send a chunk. Raises `TimeoutError` if the client does not take it in time."""
    message: dict[str, Any] = {"type": "http.response.body", "body": data, "more_body": True}
    with anyio.fail_after(SLOWEST):
        await send(message)
