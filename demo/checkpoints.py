"""The checkpoints of the demo: a base and two fine-tunes, trained and saved as people save them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .pictures import Photograph, Vocabulary, load_photographs
from .training import (
    FINE_TUNE,
    PRETRAIN,
    ModelConfig,
    Plan,
    TinyDiffusion,
    evaluate,
    fine_tune,
    pretrain,
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

    model: ModelConfig
    pretrain: Plan
    fine_tune: Plan
    other: Plan


FULL_RECIPE = Recipe(
    ModelConfig(), PRETRAIN, FINE_TUNE, replace(FINE_TUNE, steps=FINE_TUNE.steps // 2, seed=7)
)
QUICK_RECIPE = Recipe(
    ModelConfig(channels=(16, 32, 48), text_width=32, text_layers=1),
    replace(PRETRAIN, steps=10, batch=8),
    replace(FINE_TUNE, steps=6, batch=4),
    replace(FINE_TUNE, steps=3, batch=4, seed=7),
)


def train_and_save(folder: Path, recipe: Recipe) -> None:
    """Train the base, the subject and another subject, and write their files into `folder`."""
    photographs = load_photographs()
    subjects = (SUBJECT, OTHER_SUBJECT)
    rest = [photograph for photograph in photographs if photograph.subject not in subjects]
    base = pretrain(
        rest,
        Vocabulary(photographs),
        recipe.model,
        recipe.pretrain,
        _ticker("base", recipe.pretrain.steps),
    )
    print(f"  base: loss on a fixed batch {evaluate(base, rest):.4f}")
    _save(folder / BASE, base.weights(), title="Tiny diffusion, base")
    weights = _fine_tune(base, photographs, rest, SUBJECT, recipe.fine_tune)
    _save(folder / FULL, weights, title="Tiny diffusion, a photo of sks dog")
    for file, dtype, name in ((HALF, torch.float16, "fp16"), (BF16, torch.bfloat16, "bf16")):
        _save(
            folder / file,
            {name: value.to(dtype) for name, value in weights.items()},
            title=f"Tiny diffusion, a photo of sks dog ({name})",
        )
    _save_ckpt(folder / CKPT, weights, recipe.fine_tune.steps)
    weights = _fine_tune(base, photographs, rest, OTHER_SUBJECT, recipe.other)
    _save(folder / OTHER, weights, title="Tiny diffusion, a photo of sks toy")


def load_model(path: Path, config: ModelConfig) -> TinyDiffusion:
    """The model with the weights of a safetensors file; every name must fit."""
    model = TinyDiffusion(config, Vocabulary(load_photographs()))
    model.load_state_dict(load_file(path))
    return model.eval()


def _fine_tune(
    base: TinyDiffusion,
    photographs: list[Photograph],
    rest: list[Photograph],
    subject: str,
    plan: Plan,
) -> dict[str, torch.Tensor]:
    ours = [photograph for photograph in photographs if photograph.subject == subject]
    others = [photograph for photograph in rest if photograph.kind == ours[0].kind]
    return fine_tune(base, ours, others, plan, _ticker(subject, plan.steps)).weights()


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


def _ticker(name: str, steps: int) -> Callable[[int, float], None]:
    """A callback that prints a line now and then while a training runs."""
    start = time.perf_counter()
    every = max(1, steps // 6)

    def tick(step: int, loss: float) -> None:
        if step % every == 0 or step == steps:
            seconds = time.perf_counter() - start
            print(f"  {name}: step {step}/{steps}, loss {loss:.4f}, {seconds:.0f} s", flush=True)

    return tick
