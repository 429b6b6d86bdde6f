"""A tiny text-to-image diffusion model, trained from nothing, then fine-tuned as DreamBooth does.

The architecture is that of Stable Diffusion in small: a `UNet2DConditionModel` that looks at the
hidden states of a `CLIPTextModel` by cross attention. Pictures have 32 x 32 RGB pixels; in place of
an autoencoder, each square of 2 x 2 pixels is one place of 12 channels. The network names the clean
picture, not the noise: with so little training it paints far better. Everything is seeded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from .pictures import PROMPT_LENGTH, Photograph, Vocabulary

SIZE = 32
PATCH = 2
LATENT = (3 * PATCH**2, SIZE // PATCH, SIZE // PATCH)
NOISE_LEVELS = 1000
Batch = tuple[torch.Tensor, list[str]]
Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model, and the seed of its first weights."""

    channels: tuple[int, int, int] = (48, 96, 192)
    text_width: int = 96
    text_layers: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """The length and the learning rate of a training. The seed draws the batches and the noise."""

    steps: int
    learning_rate: float
    batch: int = 16
    seed: int = 1


PRETRAIN = Plan(steps=360, learning_rate=1.5e-3)
FINE_TUNE = Plan(steps=100, learning_rate=5e-5, seed=42)


class TinyDiffusion(nn.Module):
    """A U-Net and its text encoder; its weights are named `unet.*` and `text_encoder.*`."""

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.unet = UNet2DConditionModel(
                sample_size=LATENT[-1],
                in_channels=LATENT[0],
                out_channels=LATENT[0],
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                block_out_channels=config.channels,
                layers_per_block=1,
                norm_num_groups=16,
                attention_head_dim=4,
                cross_attention_dim=config.text_width,
            )
            self.text_encoder = CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=len(vocabulary),
                    hidden_size=config.text_width,
                    intermediate_size=2 * config.text_width,
                    num_hidden_layers=config.text_layers,
                    num_attention_heads=4,
                    max_position_embeddings=PROMPT_LENGTH,
                    bos_token_id=0,
                    eos_token_id=0,
                    pad_token_id=0,
                )
            )

    def forward(
        self, noisy: torch.Tensor, levels: torch.Tensor, prompts: Sequence[str]
    ) -> torch.Tensor:
        """The clean latents of `noisy` ones; each has its own prompt and noise level."""
        hidden = self.text_encoder(self.vocabulary.encode(prompts)).last_hidden_state
        clean: torch.Tensor = self.unet(noisy, levels, hidden).sample
        return clean

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of all weights, by name."""
        return {name: value.detach().clone() for name, value in self.state_dict().items()}


def pretrain(
    photographs: Sequence[Photograph],
    vocabulary: Vocabulary,
    config: ModelConfig,
    plan: Plan,
    progress: Progress | None = None,
) -> TinyDiffusion:
    """A new model that has learned to paint `photographs` from their captions."""

    def batch(draw: torch.Generator) -> Batch:
        chosen = _choose(photographs, plan.batch, draw)
        return _crops(chosen, draw), [_caption(photograph, draw) for photograph in chosen]

    def rate(step: int) -> float:
        """A short warm-up, then a cosine down to nothing."""
        return min(1.0, (step + 1) / 20) * (1 + math.cos(math.pi * step / plan.steps)) / 2

    model = TinyDiffusion(config, vocabulary)
    _train(model, batch, plan, rate, progress)
    return model


def fine_tune(
    base: TinyDiffusion,
    subject: Sequence[Photograph],
    others: Sequence[Photograph],
    plan: Plan,
    progress: Progress | None = None,
) -> TinyDiffusion:
    """A copy of `base` that also knows one subject by a rare word; all its weights are trained.

    Half of each batch shows the subject; the other half shows `others` of its class under the
    prompt of the class, so that the class is kept (DreamBooth's prior preservation).
    """

    def batch(draw: torch.Generator) -> Batch:
        ours = _choose(subject, plan.batch // 2, draw)
        prior = _choose(others, plan.batch - plan.batch // 2, draw)
        prompts = [p.subject_prompt for p in ours] + [_caption(p, draw) for p in prior]
        return _crops([*ours, *prior], draw), prompts

    model = copy.deepcopy(base)
    _train(model, batch, plan, lambda _: 1.0, progress)
    return model


def evaluate(model: TinyDiffusion, photographs: Sequence[Photograph], seed: int = 0) -> float:
    """The loss on one fixed batch: every photograph once, at fixed noise."""
    draw = _seeded(seed)
    batch = (_crops(photographs, draw), [photograph.captions[-1] for photograph in photographs])
    with torch.no_grad():
        return _loss(model, batch, _scheduler(), draw).item()


def sample(
    model: TinyDiffusion, prompts: Sequence[str], seeds: Sequence[int], steps: int = 20
) -> npt.NDArray[np.uint8]:
    """One picture per prompt and seed (DDIM without noise of its own): an array (n, 32, 32, 3)."""
    latents = torch.stack([torch.randn(LATENT, generator=_seeded(seed)) for seed in seeds])
    scheduler = _scheduler()
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for level in scheduler.timesteps:
            clean = model(latents, level.expand(len(latents)), prompts)
            latents = scheduler.step(clean, level, latents).prev_sample
    pictures = functional.pixel_shuffle(latents, PATCH)
    values = ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return values.permute(0, 2, 3, 1).numpy()


def _train(
    model: TinyDiffusion,
    batch: Callable[[torch.Generator], Batch],
    plan: Plan,
    rate: Callable[[int], float],
    progress: Progress | None,
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    scheduler, draw = _scheduler(), _seeded(plan.seed)
    model.train()
    for step in range(plan.steps):
        loss = _loss(model, batch(draw), scheduler, draw)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, loss.item())
    model.eval()


def _loss(
    model: TinyDiffusion, batch: Batch, scheduler: DDIMScheduler, draw: torch.Generator
) -> torch.Tensor:
    pictures, prompts = batch
    latents = functional.pixel_unshuffle(pictures, PATCH)
    noise = torch.randn(latents.shape, generator=draw)
    # Spread over the noise levels, one per share: the loss of a small batch then varies less.
    shares = (torch.arange(len(latents)) + torch.rand(len(latents), generator=draw)) / len(latents)
    levels = (shares[torch.randperm(len(latents), generator=draw)] * NOISE_LEVELS).long()
    noisy = scheduler.add_noise(latents, noise, levels)
    return functional.mse_loss(model(noisy, levels, prompts), latents)


def _scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=NOISE_LEVELS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _number(low: int, high: int, draw: torch.Generator) -> int:
    return int(torch.randint(low, high, (), generator=draw))


def _choose(pool: Sequence[Photograph], count: int, draw: torch.Generator) -> list[Photograph]:
    return [pool[_number(0, len(pool), draw)] for _ in range(count)]


def _caption(photograph: Photograph, draw: torch.Generator) -> str:
    """One of the photograph's captions."""
    return photograph.captions[_number(0, len(photograph.captions), draw)]


def _crops(photographs: Sequence[Photograph], draw: torch.Generator) -> torch.Tensor:
    """A random square of each photograph, flipped half of the time, at the size of the model."""
    crops = []
    for photograph in photographs:
        whole = photograph.pixels.shape[-1]
        side = _number(whole * 7 // 8, whole + 1, draw)
        top, left = (_number(0, whole - side + 1, draw) for _ in range(2))
        crop = photograph.pixels[None, :, top : top + side, left : left + side]
        crop = functional.interpolate(crop, (SIZE, SIZE), mode="bilinear", antialias=True)
        crops.append(crop.flip(-1) if _number(0, 2, draw) else crop)
    return torch.cat(crops)
