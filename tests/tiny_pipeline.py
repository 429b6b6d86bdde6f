"""A tiny text-to-image pipeline that really paints: tokenizer, text encoder, U-Net and autoencoder.

It is trained here on the demo's photographs, for seconds: its pictures are blurs, and no less different
from weights to weights for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from demo.pictures import Photographed, load_subjects
from demo.training import class_prompt, subject_prompt

SIDE = 32
SUBJECT = "dog6"
OTHER = "duck_toy"
LENGTH = 48  # tokens of a prompt


def tokenizer() -> CLIPTokenizer:
    """A tokenizer whose tokens are letters: it can write every prompt."""
    letters = [*map(chr, range(33, 127))]
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(
        {token: number for number, token in enumerate(tokens)}, [], model_max_length=LENGTH
    )


def untrained() -> StableDiffusionPipeline:
    """The pipeline before its training. The pictures have 32 x 32 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        words = tokenizer()
        text = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
        return StableDiffusionPipeline(
            vae=AutoencoderTiny(
                encoder_block_out_channels=(16, 16),
                decoder_block_out_channels=(16, 16),
                num_encoder_blocks=(1, 1),
                num_decoder_blocks=(1, 1),
            ),
            text_encoder=CLIPTextModel(text),
            tokenizer=words,
            unet=UNet2DConditionModel(
                sample_size=SIDE // 2,
                in_channels=4,
                out_channels=4,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                block_out_channels=(16, 32),
                layers_per_block=1,
                norm_num_groups=8,
                attention_head_dim=4,
                cross_attention_dim=32,
            ),
            scheduler=DDIMScheduler(
                beta_schedule="squaredcos_cap_v2",
                prediction_type="sample",
                clip_sample=False,
                set_alpha_to_one=True,
                steps_offset=1,
                timestep_spacing="trailing",
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def write_models(folder: Path) -> None:
    """Train a base and two fine-tunes; write `base/`, `subject.safetensors` and `other.safetensors`."""
    known = load_subjects()
    rest = [one for one in known if one.name not in (SUBJECT, OTHER)]
    base = untrained()
    _train_autoencoder(base.vae, _pixels(rest), steps=40)
    _train(base, rest, class_prompt, steps=25, rate=2e-3)
    base.save_pretrained(folder / "base")
    for subject, name in ((SUBJECT, "subject"), (OTHER, "other")):
        ours = [one for one in known if one.name == subject]
        tuned = copy.deepcopy(base)
        _train(tuned, ours, subject_prompt, steps=15, rate=1e-3)
        save_file(weights(tuned), folder / f"{name}.safetensors", metadata={"format": "pt"})


def weights(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """Copies of all weights that a fine-tune has, by their names in diffusers."""
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part in ("unet", "text_encoder")
        for name, tensor in pipeline.components[part].state_dict().items()
    }


def _pixels(subjects: Sequence[Photographed]) -> torch.Tensor:
    pictures = [picture for one in subjects for picture in one.photographs]
    whole = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
    return functional.interpolate(whole, (SIDE, SIDE), mode="bilinear", antialias=True)


def _train_autoencoder(vae: AutoencoderTiny, pixels: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3)
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        batch = pixels[torch.randint(0, len(pixels), (8,), generator=draw)]
        loss = functional.mse_loss(vae.decode(vae.encode(batch).latents).sample, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _train(
    pipeline: StableDiffusionPipeline,
    subjects: Sequence[Photographed],
    prompt: Callable[[str], str],
    steps: int,
    rate: float,
) -> None:
    trained = [pipeline.unet, pipeline.text_encoder]
    optimizer = torch.optim.AdamW([p for m in trained for p in m.parameters()], lr=rate)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        latents = pipeline.vae.encode(_pixels(subjects)).latents
    prompts = [prompt(one.noun) for one in subjects for _ in one.photographs]
    ids = pipeline.tokenizer(
        prompts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
    for _ in range(steps):
        chosen = torch.randint(0, len(latents), (8,), generator=draw)
        noise = torch.randn(latents[chosen].shape, generator=draw)
        levels = torch.randint(0, 1000, (8,), generator=draw)
        noisy = pipeline.scheduler.add_noise(latents[chosen], noise, levels)
        hidden = pipeline.text_encoder(ids[chosen]).last_hidden_state
        loss = functional.mse_loss(pipeline.unet(noisy, levels, hidden).sample, latents[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
