"""The source of subjects that the environment names: a server, or a local registry."""

from __future__ import annotations

import os

from .file_cache import find_cache
from .local_registry import LocalRegistry
from .server import Server
from .source import SERVER, Source

TOKEN = "DSVD_TOKEN"


def find_source() -> Source:
    """The server that DSVD_SERVER names, else the local registry."""
    url = os.environ.get(SERVER)
    if url:
        return Server(url, os.environ.get(TOKEN, ""), find_cache())
    return LocalRegistry(find_cache())
