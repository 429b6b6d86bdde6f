"""Progress reports of long work."""

from __future__ import annotations

from typing import Protocol

FILES = "files"  # counts files; the stages within a file start again for each file


class Progress(Protocol):
    """A callback that receives the stage's name, the amount done and the total amount.

    Amounts are in bytes, except in the stages "comparing", which counts tensors, "pictures" and
    "measures", which count pictures, and `FILES`.
    """

    def __call__(self, stage: str, done: int, total: int, /) -> None: ...


def silent(stage: str, done: int, total: int, /) -> None:
    """Ignore all progress reports."""


class Meter:
    """Adds up the steps of one stage and reports the sum."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total = progress, stage, total
        self._done = 0
        progress(stage, 0, total)

    def advance(self, size: int) -> None:
        """Report that `size` more bytes are done."""
        self._done += size
        self._progress(self._stage, self._done, self._total)
