"""The registry as a program sees it: one method per thing that can be done.

Most of a method's work is done by the module that it imports: what lists versions loads no numpy,
what needs no tensor no torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace as replaced
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .. import store
from ..catalog import BaseRecord, Catalog, Rebuilt, VersionRecord, rebuild
from ..closing import Closing
from ..errors import Conflict, InvalidArgument
from ..store import ObjectStore, RegistryFolder
from . import cleaning
from .asked import DEFAULT_TAUS, asked, checked_tau, checked_taus
from .cleaning import Collected, Usage
from .progress import Progress, silent

if TYPE_CHECKING:
    from .adding import Addition
    from .comparing import BaseDifference, Difference
    from .curve import Curve
    from .materializing import Materialized
    from .report import Report
    from .tensors import LazyTensors
    from .verifying import Verified


class Registry(Closing):
    """An open registry. Use it as a context manager, or call `close`.

    Besides what each method names, all raise `RegistryError` (the registry is damaged),
    `StorageError` (the operating system refused) and `NotFound` (for a ref or base that is not there).
    """

    def __init__(self, folder: RegistryFolder, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._objects = ObjectStore(folder)

    @classmethod
    def init(cls, path: str | Path | None = None) -> Self:
        """Make a registry at `path` (default: DSVD_REGISTRY, or the user's data folder), and open it.

        Raises `Conflict` if the folder holds something already.
        """
        explicit = None if path is None else Path(path)
        folder = store.folder.create(store.folder.place_to_create(explicit, os.environ, Path.cwd()))
        return cls(folder, Catalog.open(folder))

    @classmethod
    def open(cls, path: str | Path | None = None) -> Self:
        """The registry at `path`, or the one found from the environment and the current folder.

        Raises `NotFound` if there is none.
        """
        explicit = None if path is None else Path(path)
        folder = store.folder.open(store.folder.find(explicit, os.environ, Path.cwd()))
        return cls(folder, Catalog.open(folder))

    @staticmethod
    def rebuild_catalog(path: str | Path | None = None) -> Rebuilt:
        """Make the catalog anew from the store's events, also where the old one cannot be opened."""
        explicit = None if path is None else Path(path)
        return rebuild(store.folder.open(store.folder.find(explicit, os.environ, Path.cwd())))

    @property
    def path(self) -> Path:
        """The registry's folder."""
        return self._folder.root

    def close(self) -> None:
        self._catalog.close()

    # Bases

    def base_add(
        self,
        name: str,
        path: str | Path,
        *,
        link: bool = False,
        progress: Progress = silent,
    ) -> BaseRecord:
        """Register a full checkpoint as a base: a copy of it, or with `link` the file where it lies.

        Raises `CheckpointError`, `Conflict` for a name or for weights that are taken.
        """
        from .adding import add_base

        return add_base(Path(path), name, link, self._catalog, self._objects, progress)

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

    # Versions

    def add(
        self,
        path: str | Path,
        *,
        base: str,
        name: str | None = None,
        tau: float | None = None,
        max_error: float | None = None,
        budget: int | None = None,
        grid_noise: float | None = None,
        keep_noise: bool = False,
        device: str = "cpu",
        note: str = "",
        tags: Iterable[str] = (),
        progress: Progress = silent,
    ) -> Addition:
        """Store a fine-tune of `base` as the next version of the model `name` (default: the stem).

        One of: `tau` in (0, 1] (default 0.5), per layer the share of the singular values' sum to
        keep; `max_error` in (0, 1), the least bytes at this relative Frobenius error of the whole
        delta; `budget`, the least error in this many bytes. With tau: `grid_noise` (default 0.015),
        how much the integer grid may add to the error that truncation leaves; `keep_noise`, ranks
        that are but the rounding noise of half-precision weights too. `device`: a torch device for
        the spectra ("cuda"). The same source, base and settings again are recognised, and nothing
        is computed.
        Raises `CheckpointError`, `BaseMismatch`, `InvalidArgument`, `Conflict`.
        """
        from .adding import add_version, name_of

        path = Path(path)
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
            ),
            device,
            note,
            tags,
            self._catalog,
            self._objects,
            progress,
        )

    def versions(
        self,
        pattern: str | None = None,
        *,
        base: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
    ) -> list[VersionRecord]:
        """Live versions, newest last, of models that match a shell pattern, and so on."""
        return self._catalog.versions(pattern, base=base, tag=tag, since=since)

    def version(self, ref: str) -> VersionRecord:
        """The version that `ref` means: `name`, `name@3`, `name@alias`, `name@latest`."""
        return self._catalog.version(ref)

    def history(self, model: str) -> list[VersionRecord]:
        """Every version that a model ever had, removed ones too, newest last."""
        return self._catalog.history(model)

    def report(self, ref: str) -> Report:
        """The account of every tensor of a version. Reads the container, no tensor."""
        from .opening import base_of, open_container, read_manifest
        from .report import report

        version = self.version(ref)
        manifest = read_manifest(base_of(version, self._catalog), self._objects)
        with open_container(version, self._objects) as container:
            return report(container, (tensor.name for tensor in manifest.tensors))

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

    def remove(self, ref: str) -> VersionRecord:
        """Remove a version; its number is not used again. Raises `Conflict` where an alias stands."""
        version = self.version(ref)
        return self._catalog.remove_version(version.model, version.number)

    # Names for versions

    def alias_set(self, alias: str, ref: str) -> VersionRecord:
        """Let `alias` stand for the version that `ref` means."""
        version = self.version(ref)
        return self._catalog.set_alias(version.model, alias, version.number)

    def alias_remove(self, model: str, alias: str) -> VersionRecord:
        """Remove an alias; gives the version that it stood for."""
        return self._catalog.remove_alias(model, alias)

    def tag(self, ref: str, tag: str) -> VersionRecord:
        """Tag a version."""
        version = self.version(ref)
        return self._catalog.add_tag(version.model, version.number, tag)

    def untag(self, ref: str, tag: str) -> VersionRecord:
        """Take a tag off a version."""
        version = self.version(ref)
        return self._catalog.remove_tag(version.model, version.number, tag)

    def note(self, ref: str, text: str) -> VersionRecord:
        """Replace a version's note."""
        version = self.version(ref)
        return self._catalog.set_note(version.model, version.number, text)

    # Weights

    def materialize(
        self,
        ref: str,
        output: str | Path,
        *,
        tau: float | None = None,
        replace: bool = False,
        progress: Progress = silent,
    ) -> Materialized:
        """Write the full checkpoint of a version as a safetensors file, checked before it is named.

        `tau`: a lower one than stored. Raises `Conflict`, `BaseMismatch`, `ContainerError`,
        `TauNotServed`, `ResultMismatch`.
        """
        from .materializing import write_result
        from .opening import open_version

        tau = None if tau is None else checked_tau(tau)
        opened = open_version(self.version(ref), self._catalog, self._objects)
        with opened as (container, weights):
            self._check_not_a_base(Path(output))
            return write_result(
                container, weights, Path(output), tau=tau, replace=replace, progress=progress
            )

    def tensors(self, ref: str, *, tau: float | None = None) -> LazyTensors:
        """The full checkpoint as a lazy mapping: each tensor is made when it is looked up.

        The mapping is a context manager too, and holds two files open until it is closed.
        """
        from .opening import base_of, open_base, open_container
        from .tensors import LazyTensors

        tau = None if tau is None else checked_tau(tau)
        version = self.version(ref)
        base = base_of(version, self._catalog)
        with contextlib.ExitStack() as on_error:
            container = on_error.enter_context(open_container(version, self._objects))
            weights = on_error.enter_context(open_base(base, self._objects))
            tensors = LazyTensors(container, weights, tau)
            on_error.pop_all()
        return tensors

    def diff(self, left: str, right: str, *, progress: Progress = silent) -> Difference:
        """How the deltas of two versions differ, from their factors."""
        from .comparing import difference
        from .opening import open_container

        with (
            open_container(self.version(left), self._objects) as one,
            open_container(self.version(right), self._objects) as other,
        ):
            return difference(one, other, progress)

    def diff_base(self, ref: str, *, progress: Progress = silent) -> list[BaseDifference]:
        """How each tensor of a version differs from its base."""
        from .comparing import base_differences
        from .opening import open_version
        from .reconstruction import Reconstruction

        opened = open_version(self.version(ref), self._catalog, self._objects)
        with opened as (container, weights):
            header = container.header
            reconstruction = Reconstruction(container, weights, header.encoding.tau)
            return list(base_differences(reconstruction, header, progress))

    # Upkeep

    def verify(
        self, ref: str | None = None, *, deep: bool = False, progress: Progress = silent
    ) -> Verified:
        """Look for damage in one version and its base, or in all; `deep` materialises in memory.

        Damage is no exception here: it stands in the findings.
        """
        from .verifying import verify, verify_log

        if ref is None:
            versions, bases = self.versions(), self.bases()
        else:
            versions = [self.version(ref)]
            bases = [base for base in self.bases() if base.digest == versions[0].base]
        found = verify(versions, bases, self._catalog, self._objects, deep=deep, progress=progress)
        if ref is None:
            found = replaced(found, findings=(*verify_log(self._catalog), *found.findings))
        return found

    def usage(self) -> Usage:
        """Bytes by model and by base, shared and reclaimable."""
        return cleaning.usage(self._catalog, self._objects)

    def collect(
        self, *, grace_days: float = cleaning.DEFAULT_GRACE_DAYS, dry_run: bool = False
    ) -> Collected:
        """Remove objects that nothing needs and temporary files, older than the grace time."""
        return cleaning.collect(
            self._catalog, self._objects, grace_days=grace_days, dry_run=dry_run
        )

    def _check_not_a_base(self, output: Path) -> None:
        for base in self.bases():
            with contextlib.suppress(OSError):
                if base.link is not None and output.samefile(base.link):
                    raise Conflict(
                        f"{output} is the file of the base {base.name!r}", "Give another path."
                    )
