"""One of many machines that write to one bucket."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

from dsvd_registry import Registry
from dsvd_registry.catalog import Source


def write(
    reports: Connection, url: str, environment: Mapping[str, str], name: str, seconds: float
) -> None:
    """Put small objects, name each by a version, and send each ref; first "open", at last None.

    `environment`: the variables of this machine, among them its cache.
    """
    os.environ.update(environment)
    with Registry.open(url) as registry:
        reports.send(("open", None))
        until = time.monotonic() + seconds
        catalog, objects = registry.repository.catalog, registry.repository.objects
        for number in range(1_000_000):
            if time.monotonic() > until:
                break
            stored = objects.put(f"{name} {number}".encode())
            version = catalog.add_version(
                "shared" if number % 2 else name,
                container=stored.sha256,
                size=stored.size,
                base="b" * 64,
                source=Source("safetensors", stored.sha256, 1),
                settings="{}",
                summary={},
                confirm=lambda sha256=stored.sha256: objects.require(sha256),  # type: ignore[misc]
            )
            reports.send((version.ref, stored.sha256))
    reports.send((None, None))
