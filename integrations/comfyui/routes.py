"""The route by which the menu's script gets preview pictures."""

from __future__ import annotations

import asyncio

from .find_source import find_source
from .source import PICTURE_TYPES, SubjectError, ref_of


def add_routes() -> None:
    """Add `GET /dsvd/preview?subject=NAME&version=VERSION` to ComfyUI's server."""
    from aiohttp import web
    from server import PromptServer

    async def preview(request: web.Request) -> web.Response:
        asked = request.query
        ref = ref_of(asked.get("subject", ""), asked.get("version", ""))
        try:
            picture = await asyncio.to_thread(lambda: find_source().preview(ref))
        except SubjectError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        if picture.media_type not in PICTURE_TYPES:
            raise web.HTTPNotFound(text=f"the preview of {ref} is no picture.")
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=60"}
        return web.Response(body=picture.content, content_type=picture.media_type, headers=headers)

    PromptServer.instance.routes.get("/dsvd/preview")(preview)
