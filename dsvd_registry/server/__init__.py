"""The server: a registry over HTTP, read only, for clients of the Hugging Face hub and for programs.

Importing this package raises `MissingExtra` if Starlette, uvicorn, Jinja2 or prometheus-client is not
installed.
"""

from __future__ import annotations

from ..errors import MissingExtra

try:
    import jinja2 as jinja2
    import prometheus_client as prometheus_client
    import starlette as starlette
    import uvicorn as uvicorn
except ImportError as error:
    raise MissingExtra(
        f"the server needs the package {error.name}, which is not installed",
        "Install it with: pip install 'dsvd-registry[serve]'",
    ) from error
