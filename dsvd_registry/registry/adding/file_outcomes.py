"""The outcome of each file of an addition of many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...container.records import Omission
from ...errors import BUG_EXIT_CODE, DsvdError, StorageError
from ..describing.taken_in import NOTHING, TakenIn
from .best_base import BaseMatch
from .input_files import Repeat

Outcome = Literal["added", "there", "upgraded", "refused"]


@dataclass(frozen=True)
class Refusal:
    """The reason why a file was not added: the error's class name, message, hint and exit code."""

    type: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True)
class AddedFile:
    """The outcome of one file. `ref` and `base` (a name) are None for a refused file.

    `given_back`: True if the registry can give the file or folder back to the byte. `match`: the
    comparison that chose the base, if no base was named. `warnings`, `left_out`: those of the report.
    `own_name`: the name of the file, if the model has a different one. `taken_in`: as in `Addition`.
    """

    path: Path
    outcome: Outcome
    ref: str | None = None
    base: str | None = None
    container: str | None = None
    source_bytes: int = 0
    stored_bytes: int = 0
    given_back: bool = False
    match: BaseMatch | None = None
    warnings: tuple[str, ...] = ()
    left_out: tuple[Omission, ...] = ()
    refusal: Refusal | None = None
    own_name: str | None = None
    taken_in: TakenIn = NOTHING


@dataclass(frozen=True)
class AddedMany:
    """The outcome of each file, in the order of the paths.

    `repeats`: further paths of the same files, which were skipped. `not_reached`: the files that an
    interrupt prevented; the first of them is the one during which it came.
    """

    files: tuple[AddedFile, ...]
    repeats: tuple[Repeat, ...] = ()
    not_reached: tuple[Path, ...] = ()

    @property
    def added(self) -> tuple[AddedFile, ...]:
        return self._of("added")

    @property
    def there(self) -> tuple[AddedFile, ...]:
        """The files that were recognised: a version with the same base and settings existed."""
        return self._of("there")

    @property
    def upgraded(self) -> tuple[AddedFile, ...]:
        """The files whose version existed, was lossy, and is lossless now."""
        return self._of("upgraded")

    @property
    def refused(self) -> tuple[AddedFile, ...]:
        return self._of("refused")

    @property
    def source_bytes(self) -> int:
        """Bytes of all files that were not refused."""
        return sum(file.source_bytes for file in self.files)

    @property
    def stored_bytes(self) -> int:
        """Bytes that their versions take; a container that several share counts once."""
        return sum({file.container: file.stored_bytes for file in self.files}.values())

    @property
    def safe_to_delete(self) -> tuple[Path, ...]:
        """Originals that the registry gives back to the byte, as a comparison of digests has shown."""
        return tuple(file.path for file in self.files if file.given_back)

    @property
    def exit_code(self) -> int:
        """0 if no file was refused; otherwise the exit code of the first refusal."""
        return next((file.refusal.exit_code for file in self.files if file.refusal), 0)

    def _of(self, outcome: Outcome) -> tuple[AddedFile, ...]:
        return tuple(file for file in self.files if file.outcome == outcome)


class StoppedMany(KeyboardInterrupt):
    """An interrupt of the work. `found`: the outcomes until then, which stay."""

    def __init__(self, found: AddedMany) -> None:
        super().__init__()
        self.found = found


def refused(path: Path, error: DsvdError) -> AddedFile:
    """The outcome of a file that was refused with this error."""
    refusal = Refusal(type(error).__name__, str(error), error.hint, error.exit_code)
    return AddedFile(path, "refused", refusal=refusal)


def unforeseen(path: Path, error: Exception) -> AddedFile:
    """The outcome of a file at which something happened that no rule foresees."""
    if isinstance(error, OSError | MemoryError):
        reason = getattr(error, "strerror", None) or "out of memory"
        return refused(path, StorageError(f"{path}: {reason}"))
    refusal = Refusal(
        type(error).__name__,
        f"{path}: this is a bug in dsvd: {type(error).__name__}: {error}",
        "Add it by itself with DSVD_DEBUG=1 to see where, and report it with what that prints.",
        BUG_EXIT_CODE,
    )
    return AddedFile(path, "refused", refusal=refusal)
