"""The switch of subjects in a loaded pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..catalog import VersionRecord
from ..closing import Closing
from ..errors import Conflict, DsvdError
from ..registry import Registry
from ..tau import checked_tau
from .changes import find_changes
from .live_weights import Bits, LiveWeights, Tensors
from .make_tensors import Maker
from .pipeline import infos_of, tensors_of
from .pipeline_base import PipelineBase
from .pipeline_fit import check_nothing_else
from .prefetch import MadeAhead, Prefetch, Wanted


class SubjectSwitcher(Closing):
    """A switch that puts versions of `registry` into `pipeline`, loaded from their base.

        switcher = SubjectSwitcher(pipe, registry)
        with switcher.subject("subject-42"):
            image = pipe("a photo of sks dog").images[0]
        # here the base's bits are back, exactly

    The next subject can be made while the current one paints, so that the switch to it only copies:

        switcher.switch("subject-42")
        switcher.prefetch("subject-7")
        image = pipe("a photo of sks dog").images[0]
        switcher.switch("subject-7")

    Inside the block the pipeline's weights are, bit for bit, those that it would have after loading
    the file that `Registry.materialize` writes, in its own dtypes. Only the tensors that the version
    changes are written, in their own memory, so that references to them stay valid (compiled modules,
    whole models that are moved between devices).

    - The pipeline's weights must be the base's, cast to its dtypes. Each tensor that a version names
      is compared with the base's, bit for bit, the first time, which makes the first subject slower
      than the next. Later changes by other code are not noticed.
    - No copy of the base is kept: its bits come from the registry's file, each tensor compared with
      its SHA-256. Memory stays bounded, and the file must exist as long as this is used.
    - Compiled modules stay compiled: `torch.compile` sees the same parameters with other numbers.
    - `close` restores the base, and closes that file.

    Do not use it from several threads; use only `prefetch` while the pipeline runs. In addition to
    the errors of each method, all raise what `Registry` raises, and `InvalidArgument` for an object
    that is no pipeline or whose weights have no memory. After an error the pipeline has its weights
    of before or, if some were written, the base's.
    """

    def __init__(self, pipeline: object, registry: Registry) -> None:
        self._pipeline, self._registry = pipeline, registry
        self._live = LiveWeights()
        self._base: PipelineBase | None = None
        self._loaded: tuple[VersionRecord, float | None] | None = None
        self._next: Prefetch | None = None
        tensors_of(pipeline)  # raises at once if it is none

    @property
    def current(self) -> str | None:
        """The version in the pipeline, as `subject-42@3`; None if it is the base."""
        return self._loaded[0].ref if self._loaded else None

    @contextlib.contextmanager
    def subject(self, ref: str, *, tau: float | None = None) -> Iterator[None]:
        """Put a version into the pipeline for a `with` block, and restore the base after it.

        The base is restored after an exception too. Inside the block, `switch` may replace the
        version.

        Args:
            ref: the version, such as `subject-42@3`.
            tau: a lower tau than the stored one.

        Raises:
            Conflict: if a subject is in the pipeline already.

        All errors of `switch` may be raised too.

        Example:
            with switcher.subject("subject-42", tau=0.5):
                image = pipe("a photo of sks dog").images[0]
        """
        if self._loaded:
            raise Conflict(
                f"{self.current} is in the pipeline already",
                "Leave its block first, or replace it with `switch`.",
            )
        self.switch(ref, tau=tau)
        try:
            yield
        finally:
            self.restore()

    def switch(self, ref: str, *, tau: float | None = None) -> None:
        """Put a version into the pipeline, in the place of the base or of another version.

        A tensor that both versions change is written once. All errors but `ContainerError` are
        raised before anything is written.

        Args:
            ref: the version, such as `subject-42@3`.
            tau: a lower tau than the stored one.

        Raises:
            NotFound: for an unknown ref.
            InvalidArgument: for a version that changes tensors that the pipeline lacks (another text
                encoder, added tokens), and for a tau outside (0, 1].
            BaseMismatch: for a version of another base, and for a pipeline whose weights are not the
                base's.
            TauNotServed: for a tau that the version does not serve.
            ContainerError: for a damaged container.
        """
        tau = None if tau is None else checked_tau(tau)
        version = self._registry.version(ref)
        if self._loaded and (self._loaded[0].container, self._loaded[1]) == (
            version.container,
            tau,
        ):
            return
        tensors = tensors_of(self._pipeline)
        base = self._base_of(version, tensors)
        with contextlib.ExitStack() as opened:
            ahead = self._ahead(Wanted(version, tau, base.pipeline))
            if ahead is not None:
                changes, values = ahead.changes, ahead.values
                bits: Bits = values.pop  # each is freed as soon as it is copied
            else:
                container = opened.enter_context(self._registry.repository.open_container(version))
                changes = find_changes(version.ref, container.header, base)
                maker = Maker(container, base.weights, tau)
                changed = changes.changed

                def bits(name: str) -> torch.Tensor:
                    return maker.bits(changed[name], tensors[name])

            check_nothing_else(tensors, base.sources, changes.changed)
            self._live.prove(changes.named, base, tensors, version.ref)
            restored = self._live.touched - changes.changed.keys()
            try:
                self._live.put(changes.changed, bits, tensors)
                self._live.put_back(restored, base, tensors)
            except BaseException:
                self.restore()
                raise
        self._loaded = version, tau

    def prefetch(self, ref: str, *, tau: float | None = None) -> None:
        """Begin to make a version in a thread, for the next `switch` to it, and return at once.

        The pipeline may run meanwhile: its weights and torch's settings stay as they are. What is made
        takes as much memory as the tensors that the version changes, until the switch has copied it. A
        second call, or a switch to another version, drops what the first one made.

        Nothing is raised here but for an object that is no pipeline: the `switch` to the version raises
        what it raises without this, before anything is written, and damage of its container, too.

        Args:
            ref: the version, such as `subject-42@3`.
            tau: a lower tau than the stored one.

        Example:
            switcher.prefetch("subject-7")
            image = pipe("a photo of sks dog").images[0]
            switcher.switch("subject-7")
        """
        self._drop_next()
        pipeline = infos_of(tensors_of(self._pipeline))
        with contextlib.suppress(DsvdError):  # the switch looks it up again, and raises
            tau = None if tau is None else checked_tau(tau)
            version = self._registry.version(ref)
            self._next = Prefetch(Wanted(version, tau, pipeline), self._registry.repository)

    def restore(self) -> None:
        """Restore the base's bits, unless they are there.

        Raises `BaseMismatch` if the base's file is damaged; the next call tries the rest again.
        """
        self._loaded = None
        if self._base is not None:
            touched = frozenset(self._live.touched)
            self._live.put_back(touched, self._base, tensors_of(self._pipeline))

    def close(self) -> None:
        """Restore the base, and close its file. A later use opens it again."""
        self._drop_next()
        self.restore()
        if self._base is not None:
            self._base.close()
            self._base = None

    def _ahead(self, wanted: Wanted) -> MadeAhead | None:
        """The weights that were made ahead, if they are wanted. Raises what kept them from it."""
        try:
            if self._next is not None and self._next.wanted == wanted:
                return self._next.result()
            return None
        finally:
            self._drop_next()

    def _drop_next(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None

    def _base_of(self, version: VersionRecord, tensors: Tensors) -> PipelineBase:
        """The base that a version needs, for the pipeline as it looks now."""
        pipeline, base = infos_of(tensors), self._base
        if base is not None and (base.weights.digest, base.pipeline) == (version.base, pipeline):
            return base
        repository = self._registry.repository
        new = PipelineBase(repository.open_base(repository.base_of(version)), pipeline)
        with contextlib.ExitStack() as on_error:
            on_error.enter_context(new)
            self._live.check_restores(new, version.ref)
            on_error.pop_all()
        if base is not None:
            base.close()
        self._base = new
        return new
