"""The results that are open in a process: each version opened once, checked once, read by many."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ...cache import bytes_from
from ...catalog import VersionRecord
from ...closing import Closing
from ...container.delta_decoder import check_lossy_result
from ...container.reader import Container
from ...errors import RegistryError
from ...reconstruction.base_weights import BaseWeights
from ...reconstruction.cast import FloatDtype
from ...reconstruction.checked_base import CheckedBase
from ...reconstruction.file_plan import FilePlan
from ...reconstruction.range_reader import RangeReader, RunCache
from ...reconstruction.result_plan import ResultRequest, planned, reconstruction_of
from ...reconstruction.target_layout import LayoutName
from ...residual.reader import Residual
from ...tau import checked_tau
from ...threads import cores
from ..repository import Repository
from ..upkeep.residuals import at_tau, open_lossless
from .output import open_target, pattern_of
from .shared_open import SharedOpen

CACHE_VARIABLE = "DSVD_RESULT_CACHE"
DEFAULT_CACHE = 256 << 20
FRAME_BYTES = 16 << 20  # of decompressed frames, for each open container
IDLE_VERSIONS, IDLE_BASES = 4, 2


@functools.cache
def run_cache() -> RunCache:
    """The cache of this process, of DSVD_RESULT_CACHE bytes or 256 MiB. Raises `InvalidArgument`."""
    return RunCache(bytes_from(os.environ, CACHE_VARIABLE, DEFAULT_CACHE))


@dataclass(frozen=True)
class ResultForm:
    """The form in which a version is read; None stands for the stored tau, own dtypes, own files.

    `like`: the base whose folder the layout diffusers gets its configurations from; None for its own.

    Raises `InvalidArgument` for a tau that is none.
    """

    tau: float | None = None
    dtype: FloatDtype | None = None
    layout: LayoutName | None = None
    like: str | None = None

    def __post_init__(self) -> None:
        if self.tau is not None:
            object.__setattr__(self, "tau", checked_tau(self.tau))


@dataclass(frozen=True)
class ResultEntry:
    """A file of a full checkpoint: its path, its size in bytes, its SHA-256 if one is recorded."""

    path: str
    size: int
    sha256: str | None


class OpenedVersion:
    """An open version in one form: the entries of its files by path, and their plans.

    `key`: what it is opened by. `base`: the weights digest of its base.
    """

    def __init__(
        self,
        key: tuple[object, ...],
        base: str,
        entries: tuple[ResultEntry, ...],
        opening: dict[str, Callable[[], FilePlan]],
    ) -> None:
        self.key, self.base, self.entries = key, base, entries
        self._opening = opening
        self._lock = threading.Lock()
        self.plans: dict[str, FilePlan] = {}

    def plan(self, path: str) -> FilePlan:
        """The plan of a file, one for all its readers."""
        with self._lock:
            if path not in self.plans:
                self.plans[path] = self._opening[path]()
            return self.plans[path]


class ResultPool(Closing):
    """The open results of a registry, and the threads that make their bytes.

    Of one version, its readers share the container, the base and what is cached of it.
    """

    def __init__(self, repository: Repository, cache: RunCache) -> None:
        self._repository, self._cache = repository, cache
        self._versions: SharedOpen[tuple[object, ...], OpenedVersion] = SharedOpen(IDLE_VERSIONS)
        self._bases: SharedOpen[str, BaseWeights] = SharedOpen(IDLE_BASES)
        self._checked: set[tuple[object, ...]] = set()
        self._threads = ThreadPoolExecutor(cores(), "dsvd-result")
        self._starting = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Stop all work and close all files; open results cannot be read any more."""
        with (
            self._starting
        ):  # what was started is known to the cache, and ends before its files close
            self._is_closed = True
        self._versions.close()
        self._bases.close()
        self._threads.shutdown()

    @contextlib.contextmanager
    def use(self, version: VersionRecord, form: ResultForm) -> Iterator[OpenedVersion]:
        """An open version; others may use it at the same time.

        Raises `InvalidArgument` for a form that it cannot have, `TauNotServed`, `BaseMismatch`,
        `ContainerError`, `RegistryError`.
        """
        key = _key(version, form, self._repository)
        with self._versions.use(key, lambda: self._open(key, version, form)) as opened:
            yield opened

    def expel(self, opened: OpenedVersion) -> None:
        """Have the next user open the version and its base anew, after damage was found."""
        self._versions.expel(opened.key)
        self._bases.expel(opened.base)

    def reader(self, plan: FilePlan) -> RangeReader:
        """A reader of a file of an open version."""
        return RangeReader(plan, self._cache, self._start)

    def _start(self, work: Callable[[], None]) -> None:
        with self._starting:
            if self._is_closed:
                raise ValueError("the registry is closed")
            self._threads.submit(work)

    @contextlib.contextmanager
    def _open(
        self, key: tuple[object, ...], version: VersionRecord, form: ResultForm
    ) -> Iterator[OpenedVersion]:
        repository = self._repository
        base = repository.base_of(version)
        pattern = pattern_of(form.layout, form.like, repository)
        with (
            self._bases.use(base.digest, lambda: repository.open_base(base)) as weights,
            repository.open_container(version, FRAME_BYTES) as container,
            open_lossless(at_tau(version, form.tau), repository) as lossless,
            open_target(form.layout, container, weights, pattern, repository) as target,
        ):
            self._check(version.container, container)
            if lossless is None:
                check_lossy_result(container.header)
            if lossless is not None and version.residual is not None:
                self._check(version.residual.sha256, lossless.residual)
            request = ResultRequest(form.tau, form.dtype, target, lossless)
            exact = reconstruction_of(container, CheckedBase(weights), request)
            result = planned(exact, request)
            recorded = request.recorded(container.header)
            digests = {one.path: one.sha256 for one in recorded or ()}
            entries = [ResultEntry(p.path, p.size, digests.get(p.path)) for p in result.plans]
            opening: dict[str, Callable[[], FilePlan]] = {
                plan.path: functools.partial(_itself, plan) for plan in result.plans
            }
            for kept in result.kept:
                entries.append(ResultEntry(kept.file.path, kept.file.size, kept.file.sha256))
                opening[kept.file.path] = kept.open
            entries.sort(key=lambda one: one.path)
            opened = OpenedVersion(key, version.base, tuple(entries), opening)
            try:
                yield opened
            finally:
                for plan in opened.plans.values():
                    self._cache.forget(plan)

    def _check(self, sha256: str, file: Container | Residual) -> None:
        """Compare an open object with its name, unless this process has done so.

        One that is far away would come whole for that. Of it each frame is compared with its checksum
        as it is read, and `Repository` has compared its header with the catalog.

        Raises `RegistryError`, `ContainerError`.
        """
        key = sha256, file.identity
        if key in self._checked or not file.is_near:
            return
        found = file.check_file()
        if found != sha256:
            raise RegistryError(
                f"object {sha256} is damaged: its bytes have the SHA-256 {found}",
                "Run `dsvd verify`, which says how to restore it.",
            )
        self._checked.add(key)


def _itself(plan: FilePlan) -> FilePlan:
    return plan


def laid_out_by(version: VersionRecord, form: ResultForm, repository: Repository) -> str:
    """The SHA-256 of the base's file or listing that names and files are taken from.

    Empty for the own files. Raises `InvalidArgument`, `NotFound`, `BaseMismatch`.
    """
    pattern = pattern_of(form.layout, form.like, repository)
    if form.layout is None:
        return ""
    return (pattern or repository.base_of(version)).file


def _key(version: VersionRecord, form: ResultForm, repository: Repository) -> tuple[object, ...]:
    residual = None if version.residual is None else version.residual.sha256
    return (
        version.container,
        residual,
        version.base,
        form,
        laid_out_by(version, form, repository),
    )
