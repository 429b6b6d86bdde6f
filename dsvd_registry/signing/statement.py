"""What a signature says: these bytes are a container, over this base, that gives these files.

It says nothing of a version's name, number or labels: those are each registry's own.
"""

from __future__ import annotations

from .. import canonical
from ..container.records import Header

# Part of the signed bytes: a signature made for something else can never be taken for one of these.
PURPOSE = "dsvd signature v1"


def statement_of(header: Header, container: str) -> bytes:
    """The bytes to sign of the container with the SHA-256 `container`: canonical JSON."""
    return canonical.encode(
        {
            "purpose": PURPOSE,
            "container": container,
            "base": header.base_digest,
            "source": header.source.sha256,
            "results": [
                {"path": result.path, "sha256": result.sha256, "size": result.size}
                for result in header.results
            ],
        }
    )
