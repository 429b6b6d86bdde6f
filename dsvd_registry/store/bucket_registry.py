"""A registry in a bucket: how it is made, opened, and what it has on this machine.

The keys are those of a registry's folder: a copy of one is the other.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping

from ..cache import find_cache
from ..errors import Conflict, NotFound
from . import description
from .bucket_backend import BucketBackend
from .bucket_url import PATIENCE, BucketUrl
from .remote_registry import RemoteRegistry


def create(url: BucketUrl, environ: Mapping[str, str]) -> RemoteRegistry:
    """Make a registry below a prefix that has none of its keys; the bucket exists.

    Raises `Conflict` if something is there, `NotFound` without the bucket, `StorageError`.
    """
    home = _home(url, environ)
    if home.backend.head(description.KEY) is not None:
        raise Conflict(f"{url} is a registry already", "Use it as it is.")
    for prefix in ("objects/", "events/"):
        if next(home.backend.list(prefix), None) is not None:
            raise Conflict(
                f"{url} is not empty: it has keys below {prefix}", "Give another prefix."
            )
    with contextlib.suppress(Conflict):  # ours, whose answer was lost, or that of somebody faster
        home.backend.create(description.KEY, description.BYTES)
    return home


def open(url: BucketUrl, environ: Mapping[str, str]) -> RemoteRegistry:
    """Open the registry at `url`.

    Raises `NotFound` if there is none, `RegistryError` as `description.check`, `StorageError`.
    """
    home = _home(url, environ)
    try:
        data = home.backend.read(description.KEY, 0, description.MOST_BYTES)
    except NotFound as error:
        if "bucket" in str(error):
            raise
        raise NotFound(
            f"{url} is not a registry: it has no {description.KEY}",
            f"Make one with `dsvd init {url}`, or name another with --registry or DSVD_REGISTRY.",
        ) from error
    description.check(data, str(url))
    return home


def _home(url: BucketUrl, environ: Mapping[str, str]) -> RemoteRegistry:
    # The folder of a client is in its cache: all in it comes from the bucket, and may be lost.
    cache = find_cache(None, None, environ)
    root = cache.folder / "registries" / hashlib.sha256(str(url).encode()).hexdigest()[:32]
    return RemoteRegistry(root, str(url), BucketBackend(url, root / "tmp", PATIENCE), cache)
