"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol

FILES = "files"  # the stage of several files; the stages of one begin anew with the next


class Progress(Protocol):
    """Called with the stage's name, what is done and what there is to do.

    Both are in bytes, but of the stages "comparing", which counts tensors, and `FILES`.
    """

    def __call__(self, stage: str, done: int, total: int, /) -> None: ...


def silent(stage: str, done: int, total: int, /) -> None:
    """The progress of a caller who does not want to know."""


class Meter:
    """Adds up steps of one stage."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total = progress, stage, total
        self._done = 0
        progress(stage, 0, total)

    def advance(self, size: int) -> None:
        """`size` more bytes are done."""
        self._done += size
        self._progress(self._stage, self._done, self._total)
