"""The pictures of an evaluation: those that are missing are painted, model by model."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..catalog import BaseRecord
from ..closing import Closing
from ..progress import Progress
from ..registry import Registry
from .files import folder_digest
from .live_pipeline import LivePipeline, Settings
from .models import Model, Subject
from .picture_store import PictureStore, picture_key

LIBRARIES = ("torch", "diffusers", "transformers", "peft")
PICTURES = "pictures"  # the stage of progress, which counts them


@dataclass(frozen=True)
class Painted:
    """The keys of the pictures of one model of one subject: one row for each prompt, by seed."""

    subject: Subject
    model: Model
    keys: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Circumstances:
    """The settings that all pictures of a run share; `versions`: of the libraries that paint them."""

    pipeline: str
    settings: Mapping[str, object]
    device: str
    versions: Mapping[str, str]

    def key(self, model: Model, prompt: str, seed: int) -> str:
        """The key of a picture."""
        return picture_key(
            {
                "pipeline": self.pipeline,
                "settings": dict(self.settings),
                "device": self.device,
                "versions": dict(self.versions),
                "weights": dict(model.identity),
                "prompt": prompt,
                "seed": seed,
            }
        )


class PaintingRequest(Protocol):
    """The settings that are the same for all pictures of a request."""

    @property
    def pipeline(self) -> Path: ...

    @property
    def seeds(self) -> tuple[int, ...]: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def device(self) -> str: ...


def circumstances(request: PaintingRequest) -> Circumstances:
    """The circumstances of a request on this machine."""
    return Circumstances(
        pipeline=folder_digest(request.pipeline),
        settings=request.settings.arguments(),
        device=request.device.partition(":")[0],
        versions=_installed_versions(),
    )


class Painter(Closing):
    """A painter of the pictures that `store` lacks; the pipeline is loaded for the first of them.

    `base`: what the pipeline's weights are compared with once; None if its models see to that.
    """

    def __init__(
        self,
        request: PaintingRequest,
        store: PictureStore,
        registry: Registry,
        base: BaseRecord | None = None,
    ) -> None:
        self._request, self._store, self._registry = request, store, registry
        self._base = base
        self._common = circumstances(request)
        self._live: LivePipeline | None = None

    def close(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None

    def planned(self, subject: Subject) -> tuple[Painted, ...]:
        """The keys of the pictures of each model of a subject; nothing is painted."""
        return tuple(
            Painted(
                subject,
                model,
                tuple(
                    tuple(self._common.key(model, prompt, seed) for seed in self._request.seeds)
                    for prompt in subject.prompts
                ),
            )
            for model in subject.models
        )

    def paint(self, one: Painted) -> Iterator[int]:
        """Paint the pictures of a model that the store lacks; yield how many more it then has.

        Raises as `LivePipeline`.
        """
        wanted = [
            (prompt, seed, key)
            for prompt, keys in zip(one.subject.prompts, one.keys, strict=True)
            for seed, key in zip(self._request.seeds, keys, strict=True)
        ]
        missing = [(prompt, seed, key) for prompt, seed, key in wanted if not self._store.has(key)]
        yield len(wanted) - len(missing)
        if not missing:
            return
        if self._live is None:
            request = self._request
            self._live = LivePipeline(request.pipeline, self._registry, request.device)
            if self._base is not None:
                self._live.check_is_of(self._base)
        with self._live.holding(one.model):
            for prompt, seed, key in missing:
                self._store.put(key, self._live.paint(prompt, seed, self._request.settings))
                yield 1


def painted(
    request: PaintingRequest,
    subjects: tuple[Subject, ...],
    store: PictureStore,
    registry: Registry,
    progress: Progress,
) -> tuple[tuple[Painted, ...], ...]:
    """The pictures of each model of each subject. What the store has is not painted again.

    Raises as `LivePipeline`.
    """
    with Painter(request, store, registry) as painter:
        plan = tuple(map(painter.planned, subjects))
        total = sum(len(row) for ones in plan for one in ones for row in one.keys)
        done = 0
        for one in (one for ones in plan for one in ones):
            for more in painter.paint(one):
                done += more
                progress(PICTURES, done, total)
    return plan


def _installed_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
