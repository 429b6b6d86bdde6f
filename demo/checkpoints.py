"""The checkpoints of the demo: a base and two fine-tunes, trained and saved as people save them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from .autoencoder import CosineAutoencoder
from .pictures import Photographed, load_subjects
from .small_pipeline import Shape, small_pipeline
from .training import (
    PARTS,
    Plan,
    Progress,
    class_photographs,
    fine_tune,
    mean_loss,
    train_base,
    vocabulary,
    weights_of,
)

SUBJECT = "dog6"
OTHER_SUBJECT = "duck_toy"

BASE = "base.safetensors"
FULL = "subject.safetensors"
CKPT = "subject.ckpt"
HALF = "subject-fp16.safetensors"
BF16 = "subject-bf16.safetensors"
OTHER = "subject-7.safetensors"


@dataclass(frozen=True)
class Recipe:
    """The model and how long each training takes."""

    shape: Shape
    base: Plan
    subject: Plan
    other: Plan


FULL_RECIPE = Recipe(
    shape=Shape(),
    base=Plan(steps=420, learning_rate=1.2e-3, falls=True),
    subject=Plan(steps=700, learning_rate=3e-4, seed=42),
    other=Plan(steps=60, learning_rate=3e-4, seed=7),
)
QUICK_RECIPE = Recipe(
    shape=Shape(channels=(16, 32, 48), text_width=32, text_layers=1),
    base=Plan(steps=10, learning_rate=1.5e-3, batch=8, falls=True),
    subject=Plan(steps=6, learning_rate=5e-5, batch=4, seed=42),
    other=Plan(steps=3, learning_rate=5e-5, batch=4, seed=7),
)


def train_and_save(folder: Path, recipe: Recipe) -> None:
    """Train the base, the subject and another subject, and write their files into `folder`."""
    subjects = {one.name: one for one in load_subjects()}
    rest = [one for one in subjects.values() if one.name not in (SUBJECT, OTHER_SUBJECT)]
    base, side = untrained(recipe.shape), recipe.shape.side
    train_base(base, rest, recipe.base, side, _ticker())
    print(f"  base: loss on a fixed batch {mean_loss(base, rest, side):.4f}")
    _save(folder / BASE, weights_of(base), title="Small diffusion, base")

    def tuned(one: Photographed, plan: Plan) -> dict[str, torch.Tensor]:
        return fine_tune(base, one, class_photographs(one.noun, rest), plan, side, _ticker())

    weights = tuned(subjects[SUBJECT], recipe.subject)
    _save(folder / FULL, weights, title="Small diffusion, a photo of sks dog")
    for file, dtype, name in ((HALF, torch.float16, "fp16"), (BF16, torch.bfloat16, "bf16")):
        _save(
            folder / file,
            {name: value.to(dtype) for name, value in weights.items()},
            title=f"Small diffusion, a photo of sks dog ({name})",
        )
    _save_ckpt(folder / CKPT, weights, recipe.subject.steps)
    weights = tuned(subjects[OTHER_SUBJECT], recipe.other)
    _save(folder / OTHER, weights, title="Small diffusion, a photo of sks toy")


def untrained(shape: Shape) -> Any:
    """The pipeline of the demo before its training."""
    return small_pipeline(vocabulary(load_subjects()), CosineAutoencoder(), shape)


def load_model(path: Path, shape: Shape) -> Any:
    """A pipeline with the weights of a safetensors file; every name must fit."""
    pipeline, weights = untrained(shape), load_file(path)
    for part in PARTS:
        prefix = f"{part}."
        own = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
        getattr(pipeline, part).load_state_dict(own)
        getattr(pipeline, part).eval()
    return pipeline


def _save(path: Path, weights: dict[str, torch.Tensor], title: str) -> None:
    save_file(weights, path, metadata={"format": "pt", "modelspec.title": title})


def _save_ckpt(path: Path, weights: dict[str, torch.Tensor], steps: int) -> None:
    """Save the weights as a trainer does, among its own bookkeeping."""
    torch.save(
        {
            "state_dict": weights,
            "epoch": 1,
            "global_step": steps,
            "callbacks": {"ModelCheckpoint": {"monitor": "loss", "best_model_path": path.name}},
        },
        path,
    )


def _ticker() -> Progress:
    """A callback that prints a line now and then while a training runs."""
    start = time.perf_counter()

    def tick(what: str, step: int, steps: int) -> None:
        if step % max(1, steps // 6) == 0 or step == steps:
            seconds = time.perf_counter() - start
            print(f"  {what}: step {step}/{steps}, {seconds:.0f} s", flush=True)

    return tick
