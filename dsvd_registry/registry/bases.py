"""What can be done with bases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import BaseRecord
from ..progress import Progress, silent
from .opened import OpenRegistry

if TYPE_CHECKING:
    from ..checkpoint import LeftOut


class Bases(OpenRegistry):
    """Full checkpoints that versions are deltas to."""

    def base_add(
        self,
        name: str,
        path: str | Path,
        *,
        link: bool = False,
        keep_extras: bool = False,
        progress: Progress = silent,
    ) -> BaseRecord:
        """Register a full checkpoint as a base: a copy of it, or with `link` the file where it lies.

        Of a folder what is none of its model's is left out (see `left_out`), unless with `keep_extras`.
        Raises `CheckpointError`, `Conflict` for a name or for weights that are taken.
        """
        from .adding import add_base

        return add_base(
            Path(path),
            name,
            link,
            self._catalog,
            self._objects,
            progress,
            keep_extras=keep_extras,
        )

    def left_out(self, path: str | Path, *, keep_extras: bool = False) -> tuple[LeftOut, ...]:
        """What is left out of a folder that is added, and why; nothing of a file.

        Raises `CheckpointError` for a folder that is not whole, `StorageError`.
        """
        from ..checkpoint.folder import files_below, is_checkpoint_folder

        folder = Path(path)
        if not is_checkpoint_folder(folder):
            return ()
        return files_below(folder, keep_extras=keep_extras).left_out

    def bases(self) -> list[BaseRecord]:
        """Every base, by name."""
        return self._catalog.bases()

    def base(self, name: str) -> BaseRecord:
        """A base by its name, its digest or a unique prefix of that."""
        return self._catalog.base(name)

    def base_tensors(self, name: str) -> tuple[tuple[str, str, tuple[int, ...], str], ...]:
        """(name, dtype, shape, SHA-256) of each tensor of a base."""
        from .opening import read_manifest

        manifest = read_manifest(self.base(name), self._objects)
        return tuple((t.name, t.dtype, t.shape, t.sha256) for t in manifest.tensors)

    def base_remove(self, name: str) -> BaseRecord:
        """Forget a base. Raises `Conflict` while a version needs it."""
        return self._catalog.remove_base(name)
