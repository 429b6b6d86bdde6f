"""The plan of an archive: the files of a folder that versions can give back, and those that stay.

Nothing is changed here. What is said of the room is an estimate: how small a checkpoint becomes is
known only when it is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...progress import Progress
from ..adding.add_request import AddOptions, AddRequest


class ArchiveOptions(AddOptions, total=False):
    """The options of `Registry.plan_archive`: those of `Registry.add`, and these."""

    link_to: str | Path | None
    """A mounted registry: links into it will take the places of the files."""
    loras: bool
    """Archive LoRA files too, which take more room in the registry than outside; by default True."""
    progress: Progress
    """Called as the work goes on."""


@dataclass(frozen=True)
class PlannedFile:
    """A file that can be archived, and the model and base that it is added to.

    `is_exact`: False if the version will be lossy. `stored_bytes`: an estimate of the bytes that the
    registry needs for it; None if there is none.
    """

    path: Path
    size: int
    model: str
    base: str
    is_lora: bool
    is_exact: bool
    stored_bytes: int | None


@dataclass(frozen=True)
class Staying:
    """A file that stays where it is, and the reason. `exit_code`: 0 unless something went wrong."""

    path: Path
    reason: str
    hint: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class ArchivePlan:
    """The files of a folder that `Registry.archive` will add and delete, and those that stay.

    `request`: the options of their addition. `link_to`: the mounted registry that links will lead to;
    None for no links. `other_files`: the number of files that are no checkpoints, which stay.
    """

    folder: Path
    request: AddRequest
    link_to: Path | None
    files: tuple[PlannedFile, ...]
    staying: tuple[Staying, ...]
    other_files: int

    @property
    def file_bytes(self) -> int:
        """Bytes of the files that will be deleted."""
        return sum(file.size for file in self.files)

    @property
    def freed_bytes(self) -> int | None:
        """An estimate of the room that will be freed; negative if the registry needs more.

        None if there is no estimate for a file.
        """
        known = [
            file.size - file.stored_bytes for file in self.files if file.stored_bytes is not None
        ]
        return sum(known) if len(known) == len(self.files) else None

    @property
    def lossy_files(self) -> tuple[Path, ...]:
        """Files whose bytes will be lost, because their versions are lossy."""
        return tuple(file.path for file in self.files if not file.is_exact)
