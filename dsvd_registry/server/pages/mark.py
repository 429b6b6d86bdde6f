"""The mark of a version that has no picture: an outer product, drawn from its digest.

Bands across and bands down, one over the other as in a tartan, are a matrix of rank one. The mark tells
versions apart at a glance, and is the same on every machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response

from ...errors import NotFound
from ..operations import Serving

WIDTH, HEIGHT = 240, 180
_SHA256 = re.compile(r"[0-9a-f]{64}")


def mark(_serving: Serving, request: Request) -> Response:
    """The mark of a digest, as SVG. Raises `NotFound` for what is no digest."""
    sha256 = request.path_params["sha256"]
    if not _SHA256.fullmatch(sha256):
        raise NotFound("there is no such mark")
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(drawn(sha256), headers=headers, media_type="image/svg+xml")


def drawn(sha256: str) -> str:
    """The bands of a digest over a ground of its hue."""
    numbers = iter(hashlib.sha512(bytes.fromhex(sha256)).digest())
    hue = next(numbers) * 360 // 256
    second = (hue + 30 + next(numbers) % 60) % 360
    bands = [
        f'<rect x="{at}" width="{size}" height="{HEIGHT}" {fill}/>'
        for at, size, fill in _bands(numbers, WIDTH, (hue, second))
    ]
    bands += [
        f'<rect y="{at}" width="{WIDTH}" height="{size}" {fill}/>'
        for at, size, fill in _bands(numbers, HEIGHT, (second, hue))
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="hsl({hue},34%,40%)"/>{"".join(bands)}</svg>'
    )


def _bands(
    numbers: Iterator[int], length: int, hues: tuple[int, int]
) -> Iterator[tuple[int, int, str]]:
    """The place, the size and the colour of each band along a side."""
    at = next(numbers) % 20
    while at < length:
        size, shade = 6 + next(numbers) % 34, next(numbers)
        size = min(size, length - at)
        fill = (
            f'fill="hsl({hues[shade % 2]},{38 + shade % 24}%,{50 + shade % 30}%)"'
            f' fill-opacity="{0.18 + (shade % 5) / 12:.2f}"'
        )
        yield at, size, fill
        at += size + 4 + next(numbers) % 26
