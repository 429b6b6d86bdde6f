"""A pipeline that paints with each of the models in turn; their weights are put into it in place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch

from ..catalog import BaseRecord
from ..closing import Closing
from ..errors import InvalidArgument, MissingExtra
from ..registry import Registry
from ..runtime import SubjectSwitcher
from ..runtime.live_weights import LiveWeights
from ..runtime.pipeline import infos_of, overwrite, tensors_of
from ..runtime.pipeline_base import PipelineBase, cast
from ..runtime.pipeline_sources import find_sources
from .drafts import open_draft
from .image_similarity import SMALLEST_SIDE, Picture
from .models import (
    DraftWeights,
    LoraWeights,
    Model,
    PipelineWeights,
    Rounding,
    SourceWeights,
    VersionWeights,
)
from .rounding import rounded
from .source_tensors import SourceTensors, open_source


@dataclass(frozen=True)
class Settings:
    """The settings by which each picture is painted; None for what the pipeline does by itself."""

    steps: int | None = None
    guidance: float | None = None
    side: int | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of the call that paints."""
        named = {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "height": self.side,
            "width": self.side,
        }
        return {name: value for name, value in named.items() if value is not None}


class LivePipeline(Closing):
    """The pipeline of a folder, in fp32 on `device`, and the versions of `registry` for it.

    Nothing is downloaded. Raises `InvalidArgument` for a folder that diffusers does not load.
    """

    def __init__(self, folder: Path, registry: Registry, device: str) -> None:
        self._folder, self._registry = folder, registry
        self._pipeline = loaded(folder, device)
        self._switcher = SubjectSwitcher(self._pipeline, registry)

    def close(self) -> None:
        self._switcher.close()

    @contextlib.contextmanager
    def holding(self, model: Model) -> Iterator[None]:
        """Hold the weights of a model in the pipeline for a `with` block, then the base's again.

        Raises as `SubjectSwitcher.switch`, and `InvalidArgument` for a LoRA that does not fit.
        """
        weights = model.weights
        match weights:
            case PipelineWeights():
                yield
            case VersionWeights():
                with self._switcher.subject(weights.ref, tau=weights.tau):
                    yield
            case SourceWeights():
                with (
                    open_source(weights.source, self._registry, weights.entry) as opened,
                    self._overwritten(opened, weights.rounding),
                ):
                    yield
            case DraftWeights():
                with (
                    open_draft(weights.file, weights.base, weights.tau, self._registry) as opened,
                    self._overwritten(opened, None),
                ):
                    yield
            case LoraWeights():
                with self._lora(weights.file):
                    yield
            case _:
                assert_never(weights)

    def check_is_of(self, base: BaseRecord) -> None:
        """Raise `BaseMismatch` unless the pipeline's weights are the base's, bit for bit."""
        live = tensors_of(self._pipeline)
        weights = self._registry.repository.open_base(base)
        with PipelineBase(weights, infos_of(live)) as expected:
            LiveWeights().prove(expected.sources, expected, live, "the fine-tune")

    def paint(self, prompt: str, seed: int, settings: Settings) -> Picture:
        """Paint one picture. Raises `InvalidArgument` for a pipeline that cannot."""
        generator = torch.Generator("cpu").manual_seed(seed)
        try:
            found = self._pipeline(prompt, generator=generator, **settings.arguments()).images[0]
            picture: Picture = np.asarray(found.convert("RGB"))
        except Exception as error:  # of whatever class the pipeline's own code raises
            raise InvalidArgument(
                f"the pipeline {self._folder} cannot paint {prompt!r}: {error}",
                "Give a text-to-image pipeline, and a size and a device that it can do.",
            ) from error
        if min(picture.shape[:2]) < SMALLEST_SIDE:
            raise InvalidArgument(
                f"the pipeline paints {picture.shape[1]} x {picture.shape[0]} pixels, "
                f"fewer than the {SMALLEST_SIDE} that measures need",
                "Paint larger pictures.",
            )
        return picture

    @contextlib.contextmanager
    def _overwritten(self, opened: SourceTensors, rounding: Rounding | None) -> Iterator[None]:
        """Overwrite the pipeline's tensors with a checkpoint's, and put them back after the block."""
        live = tensors_of(self._pipeline)
        sources = find_sources(opened.infos, infos_of(live), "the fine-tune")
        kept: dict[str, torch.Tensor] = {}
        try:
            for name, source in sources.items():
                kept[name] = live[name].detach().cpu().clone()
                made = source.apply(opened.read, torch.cat).reshape(live[name].shape)
                values = cast(made, live[name])
                overwrite(live[name], values if rounding is None else rounded(values, rounding))
            yield
        finally:
            for name, before in kept.items():
                overwrite(live[name], before)

    @contextlib.contextmanager
    def _lora(self, file: Path) -> Iterator[None]:
        from safetensors.torch import load_file

        try:
            self._pipeline.load_lora_weights(load_file(file))
        except Exception as error:  # of whatever class diffusers, peft and safetensors raise
            raise InvalidArgument(
                f"{file} cannot be put over the base: {error}",
                "Give a LoRA in safetensors that diffusers loads for this pipeline.",
            ) from error
        try:
            yield
        finally:
            self._pipeline.unload_lora_weights()


def loaded(folder: Path, device: str) -> Any:
    """The pipeline of a folder of diffusers, in fp32, without a filter that blacks pictures out."""
    try:
        import diffusers
        import transformers
    except ImportError as error:
        raise MissingExtra(
            f"pictures need {error.name}, which is not installed",
            "Install it with `pip install 'dsvd-registry[evaluate]'`.",
        ) from error
    if not (folder / "model_index.json").is_file():
        raise InvalidArgument(
            f"{folder} is not a pipeline: it has no model_index.json",
            "Give the folder of a pipeline that diffusers has saved.",
        )
    try:
        with _silenced(diffusers, transformers):
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True
            ).to(device, torch.float32)
    except Exception as error:  # of whatever class the pipeline's own code raises
        raise InvalidArgument(
            f"diffusers cannot load the pipeline {folder}: {error}",
            "Give a whole pipeline whose weights are safetensors; nothing is downloaded.",
        ) from error
    if getattr(pipeline, "safety_checker", None) is not None:
        pipeline.register_modules(safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextlib.contextmanager
def _silenced(*libraries: Any) -> Iterator[None]:
    """Keep libraries from logging and from drawing bars, other than errors."""
    before = [library.logging.get_verbosity() for library in libraries]
    for library in libraries:
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.logging.set_verbosity(verbosity)
            library.logging.enable_progress_bar()
