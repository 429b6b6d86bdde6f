"""Subjects put into a loaded pipeline and taken out again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..catalog import VersionRecord
from ..closing import Closing
from ..errors import Conflict
from ..registry import Registry
from .changes import find_changes
from .live_weights import LiveWeights, Tensors
from .make_tensors import Maker
from .pipeline import infos_of, tensors_of
from .pipeline_base import PipelineBase
from .pipeline_fit import check_nothing_else


class SubjectSwitcher(Closing):
    """Puts versions of `registry` into `pipeline`, a diffusers pipeline loaded from their base.

        switcher = SubjectSwitcher(pipe, registry)
        with switcher.subject("subject-42"):
            image = pipe("a photo of sks dog").images[0]
        # here the base's bits are back, exactly

    Inside the block the pipeline's weights are, bit for bit, those that it would have if the file
    that `Registry.materialize` writes were loaded into it, in the dtypes that it has. Only tensors
    that the version changes are written, in the memory that they have, so that references to them
    stay good (compiled modules, whole models that are moved between devices).

    - The pipeline's weights must be the base's, cast to its dtypes. Each tensor that a version names
      is compared with the base's, bit for bit, the first time, which makes the first subject slower
      than the next. What other hands change afterwards is not seen.
    - No copy of the base is kept: its bits come back from the registry's file, each tensor compared
      with its SHA-256. Memory stays bounded, and the file must be there as long as this is used.
    - `close` restores, and lets go of that file.

    Not for several threads, nor while the pipeline runs. Besides what each method names, all raise
    what `Registry` raises, and `InvalidArgument` for what is no pipeline or lies on no device. After
    an error the pipeline holds what it held or, if it had been touched, the base.
    """

    def __init__(self, pipeline: object, registry: Registry) -> None:
        self._pipeline, self._registry = pipeline, registry
        self._live = LiveWeights()
        self._base: PipelineBase | None = None
        self._held: tuple[VersionRecord, float | None] | None = None
        tensors_of(pipeline)  # or say at once that it is none

    @property
    def current(self) -> str | None:
        """The version in the pipeline, as `subject-42@3`; None if it is the base."""
        return self._held[0].ref if self._held else None

    @contextlib.contextmanager
    def subject(self, ref: str, *, tau: float | None = None) -> Iterator[None]:
        """The pipeline is the subject inside the block, and the base again after it.

        Also where the block ends in an exception. Inside, `switch` may put another in its place.
        Raises `Conflict` if a subject is in the pipeline already, and what `switch` raises.
        """
        if self._held:
            raise Conflict(
                f"{self.current} is in the pipeline already",
                "Leave its block first, or put another in its place with `switch`.",
            )
        self.switch(ref, tau=tau)
        try:
            yield
        finally:
            self.restore()

    def switch(self, ref: str, *, tau: float | None = None) -> None:
        """Put a version into the pipeline, in the place of the base or of another version.

        Not by way of the base: a tensor that both versions change is written once. `tau`: a lower
        one than stored. Raises before anything is touched: `NotFound` for an unknown ref,
        `InvalidArgument` for a version that changes what the pipeline lacks (another text encoder,
        added tokens), `BaseMismatch` for a version of another base and for a pipeline whose weights
        are not the base's, `TauNotServed`; and `ContainerError` for damage.
        """
        version = self._registry.version(ref)
        if self._held and (self._held[0].container, self._held[1]) == (version.container, tau):
            return
        tensors = tensors_of(self._pipeline)
        base = self._base_of(version, tensors)
        with self._registry.repository.open_container(version) as container:
            found = find_changes(version.ref, container.header, base)
            check_nothing_else(tensors, base.sources, found.changed)
            maker = Maker(container, base.weights, tau)
            self._live.prove(found.named, base, tensors, version.ref)
            changed, kept = found.changed, self._live.touched - found.changed.keys()
            try:
                self._live.put(
                    changed, lambda name: maker.bits(changed[name], tensors[name]), tensors
                )
                self._live.put_back(kept, base, tensors)
            except BaseException:
                self.restore()
                raise
        self._held = version, tau

    def restore(self) -> None:
        """Put the base's bits back; nothing is done if they are there.

        Raises `BaseMismatch` if the base's file is damaged; the next call tries again what is left.
        """
        self._held = None
        if self._base is not None:
            touched = frozenset(self._live.touched)
            self._live.put_back(touched, self._base, tensors_of(self._pipeline))

    def close(self) -> None:
        """Restore, and let go of the base's file; what is used again opens it again."""
        self.restore()
        if self._base is not None:
            self._base.close()
            self._base = None

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
