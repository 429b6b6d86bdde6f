"""The recorded digest of a result proves the base's tensors, too: one hash instead of two.

SHA-256 of everything that is made says whether container and base were whole. Only where it is
another are the base's tensors hashed as well, to tell which of them is damaged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ..container.reader import Container
from ..container.records import BasedRecord
from ..errors import ContainerError, ResultMismatch
from .base_weights import BaseWeights
from .reconstruction import Reconstruction, ResultDigest


@contextlib.contextmanager
def proven_by_digest(container: Container, base: BaseWeights) -> Iterator[Reconstruction]:
    """A reconstruction at the stored tau over a base of which nothing is compared as it is read.

    Inside, `check_recorded` must have its digest before anything made is kept. Where that, or
    making it, fails, and the base is damaged, raises `BaseMismatch` naming the tensor instead.
    """
    header = container.header
    try:
        yield Reconstruction(container, base.unproven(), header.encoding.tau)
    except (ContainerError, ResultMismatch):
        named = (b for t in header.tensors if isinstance(t, BasedRecord) for b in t.base)
        base.check(dict.fromkeys(named))
        raise


def check_recorded(container: Container, found: Sequence[ResultDigest]) -> None:
    """Raises `ResultMismatch` unless `found` are the digests that the container records."""
    for own, expected in zip(found, container.header.results, strict=True):
        if (own.sha256, own.size) != (expected.sha256, expected.size):
            raise ResultMismatch(
                f"the result {expected.path} has the SHA-256 {own.sha256}, where "
                f"{expected.sha256} is recorded"
            )
