"""The small model: Stable Diffusion's parts in small, as a pipeline that diffusers saves and loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDIMScheduler, ModelMixin, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from .autoencoder import SHRINK

END, UNKNOWN = "<end>", "<unknown>"
LENGTH = 10  # words of a prompt


@dataclass(frozen=True)
class Shape:
    """The shape of a small model, and the seed of its first weights."""

    channels: tuple[int, int, int] = (48, 96, 192)
    text_width: int = 96
    text_layers: int = 2
    side: int = 64
    seed: int = 0


def small_pipeline(words: Iterable[str], autoencoder: ModelMixin, shape: Shape) -> Any:
    """An untrained pipeline that knows these words. It names the clean latents, not the noise."""
    tokenizer = word_tokenizer(words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        channels = autoencoder.config.latent_channels
        return StableDiffusionPipeline(
            vae=autoencoder,
            text_encoder=CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=len(tokenizer),
                    hidden_size=shape.text_width,
                    intermediate_size=2 * shape.text_width,
                    num_hidden_layers=shape.text_layers,
                    num_attention_heads=4,
                    max_position_embeddings=LENGTH,
                    bos_token_id=0,
                    eos_token_id=0,
                    pad_token_id=0,
                )
            ),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=shape.side // SHRINK,
                in_channels=channels,
                out_channels=channels,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                block_out_channels=shape.channels,
                layers_per_block=1,
                norm_num_groups=16,
                attention_head_dim=4,
                cross_attention_dim=shape.text_width,
            ),
            scheduler=DDIMScheduler(
                beta_schedule="squaredcos_cap_v2",
                prediction_type="sample",
                clip_sample=False,
                steps_offset=1,
                timestep_spacing="trailing",
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def paint(
    pipeline: Any, prompts: Sequence[str], seeds: Sequence[int], steps: int = 20
) -> npt.NDArray[np.uint8]:
    """One picture per prompt and seed: an array (n, side, side, 3)."""
    pipeline.set_progress_bar_config(disable=True)
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    found: npt.NDArray[np.float32] = pipeline(
        list(prompts),
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=draws,
        output_type="np",
    ).images
    return (found * 255).round().astype(np.uint8)


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are words; one that ends and pads a prompt is the first."""
    known = {END: 0, UNKNOWN: 1}
    known |= {word: number for number, word in enumerate(sorted(set(words)), start=2)}
    tokenizer = Tokenizer(WordLevel(known, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=END,
        eos_token=END,
        bos_token=END,
        model_max_length=LENGTH,
    )
