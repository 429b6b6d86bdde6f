"""Reconstruction that is proved by the recorded digest of its result: one hash instead of two.

The SHA-256 of the result proves container, residual and base together. Only if it is wrong are the
base's tensors hashed as well, to find the damaged one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..container.reader import Container
from ..container.records import BasedRecord, Header, Result
from ..errors import ContainerError, ResultMismatch
from .base_weights import BaseReader, BaseWeights
from .lossless import Lossless, LosslessReconstruction
from .reconstruction import Reconstruction, ResultDigest


@dataclass(frozen=True)
class Recorded:
    """A reconstruction and the recorded digests of its files.

    Call `check` before the files are kept.
    """

    made: Reconstruction
    results: tuple[Result, ...]

    def check(self, digests: Sequence[ResultDigest]) -> None:
        """Compare digests with the recorded ones. Raises `ResultMismatch`."""
        for actual, expected in zip(digests, self.results, strict=True):
            if (actual.sha256, actual.size) != (expected.sha256, expected.size):
                raise ResultMismatch(
                    f"the result {expected.path} has the SHA-256 {actual.sha256}, where "
                    f"{expected.sha256} is recorded"
                )


def kinds_by_path(header: Header, digests: Sequence[ResultDigest]) -> dict[str, Mapping[str, str]]:
    """The digests of the result's files, by path: "" for the file of a result that is no folder."""
    if header.tree is None:
        (only,) = digests
        return {"": only.kinds}
    return {file.path: digest.kinds for file, digest in zip(header.results, digests, strict=True)}


@contextlib.contextmanager
def proven_by_digest(
    container: Container, base: BaseWeights, lossless: Lossless | None = None
) -> Iterator[Recorded]:
    """The result at the stored tau, or the source if `lossless` is given, over an unchecked base.

    If the block fails with `ContainerError` or `ResultMismatch` and the base is damaged, raises
    `BaseMismatch` instead, naming the damaged tensor.
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
