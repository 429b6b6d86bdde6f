"""The body of a request, read whole within a limit of bytes and of time."""

from __future__ import annotations

import anyio
from starlette.requests import Request

LARGEST_BODY = 1 << 20
BODY_SECONDS = 10.0


class BodyTooLarge(Exception):
    """A request whose body is longer than any that is of use."""


class BodyTooSlow(Exception):
    """A request whose body does not come."""


async def whole_body(request: Request) -> bytes:
    """The body of a request. Raises `BodyTooLarge`, `BodyTooSlow`."""
    found = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                found += part
                if len(found) > LARGEST_BODY:
                    raise BodyTooLarge
    except TimeoutError:
        raise BodyTooSlow from None
    return bytes(found)
