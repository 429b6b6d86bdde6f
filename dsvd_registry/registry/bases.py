"""What can be done with bases."""

from __future__ import annotations

from pathlib import Path

from ..catalog import BaseRecord
from ..progress import Progress, silent
from .opened import OpenRegistry


class Bases(OpenRegistry):
    """Full checkpoints that versions are deltas to."""

    def base_add(
        self,
        name: str,
        path: str | Path,
        *,
        link: bool = False,
        weights: str | None = None,
        progress: Progress = silent,
    ) -> BaseRecord:
        """Register a full checkpoint as a base: a copy of it, or with `link` the file where it lies.

        `weights`: the entry of a torch file that is meant, such as "ema"; it is stored alone.
        Raises `CheckpointError`, `InvalidArgument`, `Conflict` for a name or for weights that are taken.
        """
        from .adding import add_base

        return add_base(
            Path(path), name, link, self._catalog, self._objects, progress, weights=weights
        )

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
