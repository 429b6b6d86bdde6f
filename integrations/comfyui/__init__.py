"""Nodes that load subjects of a dsvd registry into ComfyUI.

ComfyUI takes `comfy_entrypoint` where it knows the V3 schema, else `NODE_CLASS_MAPPINGS`.
"""

from __future__ import annotations

from .routes import add_routes

WEB_DIRECTORY = "./web"

try:
    from comfy_api.latest import ComfyExtension  # noqa: F401
except ImportError:
    from .nodes_v1 import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
else:
    from .nodes_v3 import comfy_entrypoint

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

add_routes()
