"""Training of what a study lacks: fine-tunes of its base, and LoRAs of two sizes.

The recipe is DreamBooth's for SD 1.5, as diffusers' example has it: U-Net and text encoder, AdamW at
5e-6, prior preservation. The paper does not say more; its own settings may differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from demo.pictures import Photographed
from demo.training import Examples, Plan, Progress, class_prompt, fine_tune
from dsvd_registry import Registry
from dsvd_registry.evaluation.live_pipeline import loaded

from .lora_training import lora_parameters, write_lora
from .photographs import subjects_in
from .study import BASE, LORA, PHOTOS, SUBJECTS

RANK = 128
"""The rank of the paper's LoRA."""

MATCHED_TAU = 0.2
"""The tau whose container the other LoRA has the size of."""

MATCHED = "LoRA, size of tau 0.2"
OF_RANK = f"LoRA, rank {RANK}"


@dataclass(frozen=True)
class Recipe:
    """The training of fine-tunes and LoRAs. `prior`: the pictures of the class that the base paints."""

    plan: Plan
    lora_plan: Plan
    prior: int
    side: int


FULL_SIZE = Recipe(
    plan=Plan(steps=1000, learning_rate=5e-6, batch=2, seed=42),
    lora_plan=Plan(steps=1000, learning_rate=1e-4, batch=2, seed=42),
    prior=100,
    side=512,
)


def train_study(
    folder: Path, recipe: Recipe, device: str, progress: Progress, names: Sequence[str] = ()
) -> None:
    """Train the fine-tunes and LoRAs that a study lacks, of the subjects with photographs.

    Args:
        folder: has `base` and `photos`.
        recipe: how they are trained.
        device: the torch device.
        progress: called with what is trained, and the steps done and of all.
        names: the subjects; default: all with photographs.
    """
    base = loaded(folder / BASE, device)
    for subject in subjects_in(folder / PHOTOS):
        if names and subject.name not in names:
            continue
        prior = _painted_prior(base, subject.noun, recipe.prior)
        train_subject(folder, base, subject, prior, recipe, progress)


def train_subject(
    folder: Path,
    base: Any,
    subject: Photographed,
    prior: Examples,
    recipe: Recipe,
    progress: Progress,
) -> None:
    """Train what a study lacks of one subject, each file whole or not there."""
    file = folder / SUBJECTS / f"{subject.name}.safetensors"
    if not file.is_file():
        weights = fine_tune(base, subject, prior, recipe.plan, recipe.side, progress)
        _save(weights, file)
    ranks = {OF_RANK: RANK, MATCHED: matched_rank(folder / BASE, file, base)}
    for label, rank in ranks.items():
        lora = folder / LORA / label / file.name
        if not lora.is_file():
            made = lora.with_suffix(".part")
            plan, side = recipe.lora_plan, recipe.side
            write_lora(base, subject, prior, plan, side, rank, made, progress)
            made.rename(lora)


def matched_rank(base_folder: Path, file: Path, base: Any) -> int:
    """The rank, at least 1, of the LoRA in fp16 that is nearest in size to the container."""
    with tempfile.TemporaryDirectory() as scratch, Registry.init(Path(scratch) / "r") as registry:
        registry.add_base("base", base_folder, link=True)
        (point,) = registry.curve(file, base="base", taus=[MATCHED_TAU]).points
    assert point.size is not None
    return max(1, round(point.size / (2 * lora_parameters(base.unet, 1))))


def with_steps(recipe: Recipe, steps: int | None) -> Recipe:
    """The recipe with other numbers of steps; None for its own."""
    if steps is None:
        return recipe
    plan, lora_plan = (replace(one, steps=steps) for one in (recipe.plan, recipe.lora_plan))
    return replace(recipe, plan=plan, lora_plan=lora_plan)


def _painted_prior(base: Any, noun: str, count: int) -> Examples:
    """Pictures of a class that the base paints itself, each from its own seed."""
    prompt = class_prompt(noun)
    found = []
    for seed in range(count):
        draw = torch.Generator("cpu").manual_seed(seed)
        found.append((np.asarray(base(prompt, generator=draw).images[0].convert("RGB")), (prompt,)))
    return found


def _save(weights: Mapping[str, torch.Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    save_file(dict(weights), part, metadata={"format": "pt"})
    part.rename(file)
