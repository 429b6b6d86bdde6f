"""Bases: adding, listing, finding and removing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...progress import Progress, silent
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from ...catalog import BaseRecord
    from ...checkpoint import LeftOut
    from ..adding.best_base import BaseMatch


class BaseMethods(OpenRegistry):
    """Bases: adding, listing, finding and removing them."""

    def add_base(
        self,
        name: str,
        path: str | Path,
        *,
        link: bool = False,
        weights: str | None = None,
        keep_extras: bool = False,
        progress: Progress = silent,
    ) -> BaseRecord:
        """Register a full checkpoint as a base, to which versions are stored as deltas.

        Args:
            name: Its name for people; the weights digest identifies it.
            path: A checkpoint file, or a folder of diffusers.
            link: Leave the file where it is, instead of copying it into the registry.
            weights: The entry to use of a torch file, such as "ema"; it is stored alone.
            keep_extras: Keep the files of a folder that do not belong to its model (see `left_out`).
            progress: Called as the work goes on.

        Raises:
            CheckpointError: The file is damaged or not a checkpoint.
            InvalidArgument: Two options exclude each other.
            Conflict: The name is taken, or the weights are a base already.

        Example:
            >>> registry.add_base("sd15-copy", "other.safetensors").name
            'sd15-copy'
        """
        from ..adding.add_base import add_base

        return add_base(
            Path(path),
            name,
            link,
            self.repository,
            progress,
            weights=weights,
            keep_extras=keep_extras,
        )

    def left_out(self, path: str | Path, *, keep_extras: bool = False) -> tuple[LeftOut, ...]:
        """List the files of a folder that an addition leaves out, with the reasons; none for a file.

        They are weights that `model_index.json` does not name, exports, and the state of a training.

        Args:
            path: A folder of diffusers, or a checkpoint file.
            keep_extras: As in `AddOptions`.

        Raises:
            CheckpointError: The folder is not whole.

        Example:
            >>> registry.left_out("ft.safetensors")
            ()
        """
        from ..adding.input_files import left_out

        return left_out(Path(path), keep_extras=keep_extras)

    def bases(self) -> list[BaseRecord]:
        """List every base, by name.

        Example:
            >>> [base.name for base in registry.bases()]
            ['sd15']
        """
        return self.repository.catalog.bases()

    def base(self, name: str) -> BaseRecord:
        """Find a base by its name, its digest or a unique prefix of that.

        Example:
            >>> registry.base("sd15").format
            'safetensors'
        """
        return self.repository.catalog.base(name)

    def base_tensors(self, name: str) -> tuple[tuple[str, str, tuple[int, ...], str], ...]:
        """List the name, dtype, shape and SHA-256 of each tensor of a base.

        Example:
            >>> name, dtype, shape, sha256 = registry.base_tensors("sd15")[0]
            >>> dtype, len(sha256)
            ('F32', 64)
        """
        manifest = self.repository.manifest(self.base(name))
        return tuple((t.name, t.dtype, t.shape, t.sha256) for t in manifest.tensors)

    def best_base(self, path: str | Path, *, weights: str | None = None) -> BaseMatch:
        """Find the base that a checkpoint was probably fine-tuned from, and how sure that is.

        Names and shapes select the possible bases, then a sample of weights decides.

        Args:
            path: A checkpoint file, a folder of diffusers, or a LoRA file.
            weights: The entry to use of a torch file.

        Raises:
            CheckpointError: The file is damaged or not a checkpoint.
            BaseMismatch: No base fits.

        Example:
            >>> match = registry.best_base("ft.safetensors")
            >>> match.best.name, match.is_sure
            ('sd15', True)
        """
        from ..adding.best_base import best_base

        return best_base(Path(path), self.bases(), self.repository, weights)

    def remove_base(self, name: str) -> BaseRecord:
        """Forget a base.

        Raises:
            Conflict: A version needs it.

        Example:
            >>> registry.remove_base("sd15")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.Conflict: ...
        """
        return self.repository.catalog.remove_base(name)
