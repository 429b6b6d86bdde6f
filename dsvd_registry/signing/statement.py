"""The statement that is signed: a container's SHA-256, its base, its source and its results.

A version's name, number and labels are not part of it: each registry has its own.
"""

from __future__ import annotations

from .. import canonical
from ..container.records import Header

# Part of the signed bytes, so that a signature made for another purpose is never valid here.
PURPOSE = "dsvd signature v1"


def statement_of(header: Header, container: str) -> bytes:
    """The bytes to sign for a container, in canonical JSON. `container`: its SHA-256."""
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
