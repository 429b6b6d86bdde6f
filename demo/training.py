"""Training of pipelines: a base from nothing, and DreamBooth's fine-tunes of it.

The small model and a real one are trained by the same code. The loss is that of the pipeline's own
scheduler: it names the noise, the clean latents, or the velocity.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dsvd_registry.evaluation.image_similarity import Picture

from .pictures import Photographed, square

RARE_WORD = "sks"
PARTS = ("unet", "text_encoder")
WARM_UP = 20  # steps
CROPS = (1.0, 0.94, 0.88, 0.82)  # of a photograph's side; every second one is flipped

Examples = Sequence[tuple[Picture, tuple[str, ...]]]
"""Photographs, and the prompts that are drawn for each."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """The length of a training, its learning rate, its batch, and the seed of all draws."""

    steps: int
    learning_rate: float
    batch: int = 16
    seed: int = 1
    falls: bool = False
    """True if the rate falls to 0 along a cosine, after a short rise."""


def captions(one: Photographed) -> tuple[str, ...]:
    """The words that a base learns for a photograph; the second: a word may name an individual."""
    return f"a photo of a {one.noun}", f"a photo of {one.name} {one.noun}"


def subject_prompt(noun: str) -> str:
    """DreamBooth's prompt for one subject."""
    return f"a photo of {RARE_WORD} {noun}"


def class_prompt(noun: str) -> str:
    """The prompt of a class."""
    return f"a photo of a {noun}"


def vocabulary(subjects: Iterable[Photographed]) -> list[str]:
    """The words of all captions, and the rare word."""
    texts = (caption for one in subjects for caption in captions(one))
    return [*(word for text in texts for word in text.split()), RARE_WORD]


def class_photographs(noun: str, subjects: Iterable[Photographed]) -> Examples:
    """The photographs of a class under its own prompt: a prior that a fine-tune preserves."""
    return [
        (picture, (class_prompt(noun),))
        for one in subjects
        if one.noun == noun
        for picture in one.photographs
    ]


def train_base(
    pipeline: Any, subjects: Iterable[Photographed], plan: Plan, side: int, progress: Progress
) -> None:
    """Teach a new pipeline these subjects by their captions."""
    examples = [(picture, captions(one)) for one in subjects for picture in one.photographs]
    train(pipeline, [examples], _trained(pipeline), plan, side, "base", progress)


def fine_tune(
    base: Any, subject: Photographed, prior: Examples, plan: Plan, side: int, progress: Progress
) -> dict[str, torch.Tensor]:
    """The weights of a copy of `base` that knows a subject, by their names in diffusers.

    Half of each batch shows the subject, half is `prior`, pictures of its class under the class's own
    prompt, so that the class is kept (DreamBooth's prior preservation).
    """
    tuned = copy.deepcopy(base)
    sources = [shown(subject), prior or shown(subject)]
    train(tuned, sources, _trained(tuned), plan, side, subject.name, progress)
    return weights_of(tuned)


def weights_of(pipeline: Any) -> dict[str, torch.Tensor]:
    """A copy of the weights that a fine-tune has, by their names in diffusers."""
    return {
        f"{part}.{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part in PARTS
        for name, value in getattr(pipeline, part).state_dict().items()
    }


def mean_loss(pipeline: Any, subjects: Iterable[Photographed], side: int, seed: int = 0) -> float:
    """The loss on one fixed batch: every photograph once under its class, at fixed noise."""
    examples = [(picture, captions(one)) for one in subjects for picture in one.photographs]
    pool = _encoded(pipeline, examples, side)
    drawn = [(crops[0], texts[0]) for crops, texts in zip(pool.latents, pool.prompts, strict=True)]
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        latents = torch.stack([latents for latents, _ in drawn])
        return _loss(pipeline, latents, drawn, draw).item()


def shown(subject: Photographed) -> Examples:
    """The photographs of a subject under the prompt that names it."""
    return [(picture, (subject_prompt(subject.noun),)) for picture in subject.photographs]


def _trained(pipeline: Any) -> list[nn.Parameter]:
    return [p for part in PARTS for p in getattr(pipeline, part).parameters()]


def train(
    pipeline: Any,
    sources: Sequence[Examples],
    trained: Sequence[nn.Parameter],
    plan: Plan,
    side: int,
    name: str,
    progress: Progress,
) -> None:
    """Train these parameters of a pipeline; each source gives an equal part of each batch."""
    draw = torch.Generator().manual_seed(plan.seed)
    pools = [_encoded(pipeline, examples, side) for examples in sources]
    shares = [plan.batch // len(pools) + (n < plan.batch % len(pools)) for n in range(len(pools))]
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, betas=(0.9, 0.99))
    for part in PARTS:
        getattr(pipeline, part).train()
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _rate(step, plan)
        drawn = [one for pool, n in zip(pools, shares, strict=True) for one in pool.draw(n, draw)]
        loss = _loss(pipeline, torch.stack([latents for latents, _ in drawn]), drawn, draw)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        progress(f"training {name}, loss {loss.item():.4f}", step + 1, plan.steps)
    for part in PARTS:
        getattr(pipeline, part).eval()


def _rate(step: int, plan: Plan) -> float:
    if not plan.falls:
        return 1.0
    return min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / plan.steps)) / 2


Drawn = tuple[torch.Tensor, str]


@dataclass(frozen=True)
class _Pool:
    """The latents of each photograph, in several crops (crops, channels, h, w), and its prompts."""

    latents: tuple[torch.Tensor, ...]
    prompts: tuple[tuple[str, ...], ...]

    def draw(self, count: int, draw: torch.Generator) -> Iterable[Drawn]:
        for place in torch.randint(0, len(self.latents), (count,), generator=draw).tolist():
            crops, prompts = self.latents[place], self.prompts[place]
            crop = int(torch.randint(0, len(crops), (), generator=draw))
            prompt = int(torch.randint(0, len(prompts), (), generator=draw))
            yield crops[crop], prompts[prompt]


def _encoded(pipeline: Any, examples: Examples, side: int) -> _Pool:
    latents = []
    with torch.no_grad():
        for picture, _ in examples:
            pixels = torch.from_numpy(np.stack(list(_crops(picture, side)))).permute(0, 3, 1, 2)
            values = pixels.to(pipeline.device, torch.float32) / 127.5 - 1
            found = pipeline.vae.encode(values)
            mean = found.latents if hasattr(found, "latents") else found.latent_dist.mode()
            latents.append(mean * pipeline.vae.config.scaling_factor)
    return _Pool(tuple(latents), tuple(prompts for _, prompts in examples))


def _crops(picture: Picture, side: int) -> Iterable[Picture]:
    """The middle of a photograph in several sizes, every second one flipped."""
    for number, share in enumerate(CROPS):
        height, width = (round(length * share) for length in picture.shape[:2])
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        cut = square(picture[top : top + height, left : left + width], side)
        yield np.ascontiguousarray(cut[:, ::-1]) if number % 2 else cut


def _loss(
    pipeline: Any, latents: torch.Tensor, drawn: Sequence[Drawn], draw: torch.Generator
) -> torch.Tensor:
    scheduler, count = pipeline.scheduler, len(latents)
    noise = torch.randn(latents.shape, generator=draw).to(latents)
    # Spread over the noise levels, one per share: the loss of a small batch then varies less.
    shares = (torch.arange(count) + torch.rand(count, generator=draw)) / count
    levels = shares[torch.randperm(count, generator=draw)] * scheduler.config.num_train_timesteps
    levels = levels.long().to(latents.device)
    noisy = scheduler.add_noise(latents, noise, levels)
    ids = pipeline.tokenizer(
        [prompt for _, prompt in drawn],
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids.to(latents.device)
    hidden = pipeline.text_encoder(ids).last_hidden_state
    named = pipeline.unet(noisy, levels, hidden).sample
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return functional.mse_loss(named, latents)
    target = noise if kind == "epsilon" else scheduler.get_velocity(latents, noise, levels)
    return functional.mse_loss(named, target)
