"""The route by which the menu's script gets preview pictures."""

from __future__ import annotations

import asyncio
import logging

from .source import PICTURE_TYPES, SubjectError, find_source, ref_of


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
            logging.info("dsvd: no preview of %s: %s", ref, error)
            picture = None
        if picture is None or picture.media_type not in PICTURE_TYPES:
            return web.Response(status=404)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=60"}
        return web.Response(body=picture.content, content_type=picture.media_type, headers=headers)

    PromptServer.instance.routes.get("/dsvd/preview")(preview)
