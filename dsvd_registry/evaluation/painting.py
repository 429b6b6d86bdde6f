"""The pictures of an evaluation: those that are missing are painted, model by model."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..progress import Progress
from ..registry import Registry
from .files import folder_digest
from .live_pipeline import LivePipeline
from .models import Model, Subject
from .picture_store import PictureStore, picture_key
from .request import EvaluationRequest

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
    """What all pictures of a run have in common; `versions`: of the libraries that paint them."""

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


def circumstances(request: EvaluationRequest) -> Circumstances:
    """The circumstances of a request on this machine."""
    return Circumstances(
        pipeline=folder_digest(request.pipeline),
        settings=request.settings.arguments(),
        device=request.device.partition(":")[0],
        versions=_installed_versions(),
    )


def painted(
    request: EvaluationRequest,
    subjects: tuple[Subject, ...],
    store: PictureStore,
    registry: Registry,
    progress: Progress,
) -> tuple[tuple[Painted, ...], ...]:
    """The pictures of each model of each subject. What the store has is not painted again.

    Raises as `LivePipeline`.
    """
    common = circumstances(request)
    plan = tuple(
        tuple(_planned(subject, model, common, request.seeds) for model in subject.models)
        for subject in subjects
    )
    total = sum(len(row) for ones in plan for one in ones for row in one.keys)
    done = 0
    with _opened_when_needed(request, registry) as pipeline:
        for one in (one for ones in plan for one in ones):
            for seeds in _paint_missing(one, request, store, pipeline):
                done += seeds
                progress(PICTURES, done, total)
    return plan


def _planned(
    subject: Subject, model: Model, common: Circumstances, seeds: tuple[int, ...]
) -> Painted:
    keys = (tuple(common.key(model, prompt, seed) for seed in seeds) for prompt in subject.prompts)
    return Painted(subject, model, tuple(keys))


def _paint_missing(
    one: Painted,
    request: EvaluationRequest,
    store: PictureStore,
    pipeline: Callable[[], LivePipeline],
) -> Iterator[int]:
    """Paint the pictures of a model that the store lacks; yield 1 for each that it then has."""
    wanted = [
        (prompt, seed, key)
        for prompt, keys in zip(one.subject.prompts, one.keys, strict=True)
        for seed, key in zip(request.seeds, keys, strict=True)
    ]
    missing = [(prompt, seed, key) for prompt, seed, key in wanted if not store.has(key)]
    yield len(wanted) - len(missing)
    if not missing:
        return
    live = pipeline()
    with live.holding(one.model):
        for prompt, seed, key in missing:
            store.put(key, live.paint(prompt, seed, request.settings))
            yield 1


@contextlib.contextmanager
def _opened_when_needed(
    request: EvaluationRequest, registry: Registry
) -> Iterator[Callable[[], LivePipeline]]:
    """The pipeline, which is loaded when it is first asked for: nothing may be missing."""
    with contextlib.ExitStack() as opened:
        found: list[LivePipeline] = []

        def pipeline() -> LivePipeline:
            if not found:
                live = LivePipeline(request.pipeline, registry, request.device)
                found.append(opened.enter_context(live))
            return found[0]

        yield pipeline


def _installed_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
