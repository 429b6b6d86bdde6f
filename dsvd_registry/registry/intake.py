"""What can be done with files that are to become versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import VersionRecord
from ..encoding.asked import DEFAULT_TAUS, asked, checked_taus
from ..errors import InvalidArgument
from ..progress import Progress, silent
from .bases import Bases

if TYPE_CHECKING:
    from .adding import Addition
    from .adding_many import AddedMany
    from .best_base import BaseMatch
    from .curve import Curve


class Intake(Bases):
    """Fine-tunes taken in."""

    def add(
        self,
        path: str | Path,
        *,
        base: str | None = None,
        name: str | None = None,
        tau: float | None = None,
        max_error: float | None = None,
        budget: int | None = None,
        grid_noise: float | None = None,
        keep_noise: bool = False,
        lossless: bool = False,
        device: str = "cpu",
        skip_unsupported: bool = False,
        keep_extras: bool = False,
        note: str = "",
        tags: Iterable[str] = (),
        progress: Progress = silent,
    ) -> Addition:
        """Store a fine-tune of `base` as the next version of the model `name` (default: the stem).

        Without `base`: of the one that `best_base` is sure of.

        One of: `tau` in (0, 1] (default 0.5), per layer the share of the singular values' sum to
        keep; `max_error` in (0, 1), the least bytes at this relative Frobenius error of the whole
        delta; `budget`, the least error in this many bytes. With tau: `grid_noise` (default 0.015),
        how much the integer grid may add to the error that truncation leaves; `keep_noise`, ranks
        that are but the rounding noise of half-precision weights too. `device`: a torch device for
        the spectra ("cuda"). `lossless`: keep a residual too, with which the source comes back to the
        bit; without a fidelity beside it, ranks are those that take the least in all, and a version of
        this source that is there gets the residual. The same source, base and settings again are
        recognised, and nothing is computed.

        A LoRA file becomes a version too: the base with the LoRA merged in at weight 1. It takes tau
        alone, of its own spectrum and 1 by default; with `skip_unsupported`, what of it cannot be
        merged is left out and listed instead of refused.

        Of a folder what is none of its model's is left out and listed: weights that `model_index.json`
        does not name, exports, the state of a training. With `keep_extras` it is kept as files.
        Raises `CheckpointError`, `BaseMismatch`, `UnsureBase`, `InvalidArgument`, `Conflict`.
        """
        from .adding import add_version, name_of

        path = Path(path)
        if base is None:
            base = self.best_base(path).sure()
        return add_version(
            path,
            name_of(path) if name is None else name,
            self.base(base),
            asked(
                tau=tau,
                max_error=max_error,
                budget=budget,
                grid_noise=grid_noise,
                keep_noise=keep_noise,
                lossless=lossless,
            ),
            device,
            note,
            tags,
            self._catalog,
            self._objects,
            progress,
            lossless=lossless,
            skip_unsupported=skip_unsupported,
            keep_extras=keep_extras,
        )

    def add_many(
        self,
        paths: Iterable[str | Path],
        *,
        base: str | None = None,
        tau: float | None = None,
        max_error: float | None = None,
        budget: int | None = None,
        grid_noise: float | None = None,
        keep_noise: bool = False,
        lossless: bool = False,
        device: str = "cpu",
        skip_unsupported: bool = False,
        keep_extras: bool = False,
        note: str = "",
        tags: Iterable[str] = (),
        progress: Progress = silent,
    ) -> AddedMany:
        """Store each file, and each checkpoint that lies in a folder, as `add` does with one.

        Models are named by the files' stems. A file that is refused does not stop the others; why,
        stands in what is returned. The same again after a stop goes on where it was.
        Raises `InvalidArgument`, `Conflict` for two files of one stem, before anything is computed.
        """
        from .adding_many import Manner, add_many

        wish = asked(
            tau=tau,
            max_error=max_error,
            budget=budget,
            grid_noise=grid_noise,
            keep_noise=keep_noise,
            lossless=lossless,
        )
        named = None if base is None else self.base(base)
        manner = Manner(
            named, wish, device, note, tuple(tags), lossless, skip_unsupported, keep_extras
        )
        return add_many(map(Path, paths), manner, self._catalog, self._objects, progress)

    def best_base(self, path: str | Path) -> BaseMatch:
        """The base that the checkpoint `path` fits best, and how sure that is.

        By names and shapes, then by a sample of weights. Raises `CheckpointError`, and
        `BaseMismatch` where no base fits.
        """
        from .best_base import best_base

        return best_base(Path(path), self.bases(), self._objects)

    def import_container(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        note: str = "",
        tags: Iterable[str] = (),
        progress: Progress = silent,
    ) -> Addition:
        """Store a container as the next version of the model `name` (default: the file's stem).

        All that a deep `verify` looks at is checked before. The same container again is recognised.
        The signatures in the file beside it, whose name ends with `.sig`, are kept with the version,
        and the residual in the one whose name ends with `.dsvdr` in place of `.dsvd`.
        Raises `ContainerError`, `BaseMismatch` where its base is not here, `ResultMismatch`,
        `SignatureError` for one that is not valid or of another container, `MissingExtra`,
        `InvalidArgument`, `Conflict`; then nothing is left behind.
        """
        from .adding import name_of
        from .portable import import_container

        path = Path(path)
        model = name_of(path) if name is None else name
        return import_container(path, model, note, tags, self._catalog, self._objects, progress)

    def curve(
        self,
        source: str | Path,
        *,
        base: str | None = None,
        taus: Sequence[float] | None = None,
        keep_noise: bool = False,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> Curve:
        """Bytes, error and ranks at each of `taus`, to choose one by. Nothing is stored.

        `source`: a checkpoint, with the `base` that it is a fine-tune of: each tensor is decomposed
        once, and encoded as `add` would at each tau (default: a row of eight). Or a version, which
        tells from its container alone what its own and lower taus read; their errors are estimates.
        Raises `InvalidArgument` where `source` may be either, `CheckpointError`, `BaseMismatch`,
        `ContainerError`.
        """
        from .file_or_ref import file_or_version

        chosen = None if taus is None else checked_taus(taus)
        found = file_or_version(source, base, self._catalog)
        if isinstance(found, VersionRecord):
            if keep_noise:
                raise InvalidArgument(
                    f"the noise of {found.ref} was kept or left out when it was added",
                    "Leave keep_noise out, or give the file.",
                )
            from .curve_of_version import curve_of_version
            from .opening import open_container

            with open_container(found, self._objects) as container:
                stored = container.header.encoding.tau
                lower = (*(tau for tau in DEFAULT_TAUS if tau < stored), stored)
                name = found.base_name or found.base
                return curve_of_version(found.ref, name, container, chosen or lower)
        from .curve_of_file import curve_of_file

        return curve_of_file(
            found,
            self.base(base or ""),
            chosen or DEFAULT_TAUS,
            keep_noise,
            device,
            self._objects,
            progress,
        )
