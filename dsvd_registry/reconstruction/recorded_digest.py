"""The recorded digest of a result proves the base's tensors, too: one hash instead of two.

SHA-256 of everything that is made says whether container, residual and base were whole. Only where
it is another are the base's tensors hashed as well, to tell which of them is damaged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..container.reader import Container
from ..container.records import BasedRecord, Result
from ..errors import ContainerError, ResultMismatch
from .base_weights import BaseReader, BaseWeights
from .lossless import Lossless, LosslessReconstruction
from .reconstruction import Reconstruction, ResultDigest


@dataclass(frozen=True)
class Recorded:
    """What is made, and the digests on record of its files: `check` before anything is kept."""

    made: Reconstruction
    results: tuple[Result, ...]

    def check(self, found: Sequence[ResultDigest]) -> None:
        """Raises `ResultMismatch` unless `found` are the digests on record."""
        for own, expected in zip(found, self.results, strict=True):
            if (own.sha256, own.size) != (expected.sha256, expected.size):
                raise ResultMismatch(
                    f"the result {expected.path} has the SHA-256 {own.sha256}, where "
                    f"{expected.sha256} is recorded"
                )


@contextlib.contextmanager
def proven_by_digest(
    container: Container, base: BaseWeights, lossless: Lossless | None = None
) -> Iterator[Recorded]:
    """A result at the stored tau, or the source, over a base of which nothing is compared as it is
    read.

    Where its digest, or making it, fails, and the base is damaged, raises `BaseMismatch` naming the
    tensor instead.
    """
    header = container.header
    try:
        yield _recorded(container, base.unproven(), lossless)
    except (ContainerError, ResultMismatch):
        named = (b for t in header.tensors if isinstance(t, BasedRecord) for b in t.base)
        base.check(dict.fromkeys(named))
        raise


def _recorded(container: Container, base: BaseReader, lossless: Lossless | None) -> Recorded:
    if lossless is None:
        header = container.header
        return Recorded(Reconstruction(container, base, header.encoding.tau), header.results)
    return Recorded(LosslessReconstruction(container, base, lossless), lossless.results)
