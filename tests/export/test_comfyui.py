"""A file for ComfyUI, by the rules of its own source (see `comfyui_rules`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from layouts.original import State, original_unet
from layouts.pipelines import models
from lora.pipelines import LAYERS
from safetensors.torch import load_file

from .comfyui_rules import patched
from .conftest import Subject
from .effect import check, distance, whole

CLIPS = {
    "sd1": {"text_encoder": "clip_l"},
    "sd2": {"text_encoder": "clip_h"},
    "sdxl": {"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
    "sdxl-refiner": {"text_encoder_2": "clip_g"},
}


def comfyui_names(family: str, pipeline: DiffusionPipeline) -> dict[str, tuple[str, str]]:
    """The model and parameter of every tensor but the VAE's, by ComfyUI's name."""
    there = models(pipeline)
    # A tensor's number stands for it: the names are what is wanted.
    names = list(there["unet"].state_dict())
    numbers = {name: torch.tensor(number) for number, name in enumerate(names)}
    found = {
        f"diffusion_model.{name}": ("unet", names[int(number)])
        for name, number in original_unet(numbers, LAYERS).items()
    }
    for model, clip in CLIPS[family].items():
        for name in there[model].state_dict():
            own = name.removeprefix("text_model.")
            path = own if own.startswith("text_projection.") else f"text_model.{own}"
            found[f"{clip}.transformer.{path}"] = (model, name)
    return found


def in_comfyui(subject: Subject, file: Path) -> tuple[State, set[str]]:
    """The subject's tensors with the merged file, by its own names; and the keys not loaded."""
    pipeline = subject.pipeline()
    names = comfyui_names(subject.family, pipeline)
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    model = {name: states[part][local] for name, (part, local) in names.items()}
    result, left = patched(model, load_file(file))
    for name, (part, local) in names.items():
        states[part][local].copy_(result[name])
    return subject.named(pipeline), left


def test_every_family(subject: Subject, file: Path) -> None:
    lora = subject.registry.export_lora("subject", file, format="comfyui")
    found, left = in_comfyui(subject, file)
    assert left == set()
    assert lora.left_out == ()  # it holds vectors and tables, too
    assert lora.differences
    check(subject, found, lora)
    assert distance(subject.version, found) / whole(subject) == pytest.approx(lora.error, rel=1e-3)
    assert lora.error < 5e-4
    for module in lora.modules:
        assert (module.alpha, module.error < 1e-3) == (module.rank, True)


def test_a_rank_limit_is_of_matrices_alone(subject_of, file: Path) -> None:
    subject = subject_of("sd1")
    lora = subject.registry.export_lora("subject", file, format="comfyui", rank_limit=1)
    found, left = in_comfyui(subject, file)
    assert left == set()
    assert set(lora.ranks) == {1}
    shapes = {tensor.ndim for name, tensor in load_file(file).items() if ".diff" in name}
    assert shapes == {1}
    assert distance(subject.version, found) / whole(subject) == pytest.approx(lora.error, rel=1e-3)
