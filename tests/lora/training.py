"""Bases of each family in each layout, and LoRAs trained on them by diffusers and PEFT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from layouts.original import State
from layouts.pipelines import models, randomised, single_file
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from .pipelines import LAYERS, PIPELINES

LAYOUTS = ("diffusers", "original")
UNET_TARGETS = [
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "conv_in", "linear_1"),
]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


@dataclass(frozen=True)
class Base:
    """The weights of a pipeline, also as one file in each layout."""

    family: str
    states: dict[str, State]
    files: dict[str, Path]

    def pipeline(self) -> DiffusionPipeline:
        """A new pipeline with the base's weights."""
        pipeline = PIPELINES[self.family]()
        for name, model in models(pipeline).items():
            model.load_state_dict(self.states[name])
        return pipeline


@dataclass(frozen=True)
class Trained:
    """A LoRA: its PEFT layers and configurations by sub-model; its `file`, by `save_lora_weights`; and
    the weights as diffusers merges that file, in both layouts."""

    base: Base
    layers: dict[str, State]
    configs: dict[str, LoraConfig]
    merged: dict[str, State]
    file: Path

    def scale(self, model: str, layer: str) -> float:
        """The scale of a layer, alpha / rank, as in PEFT."""
        config = self.configs[model]
        rank = self.layers[model][f"{layer}.lora_A.weight"].shape[0]
        ends = [a for end, a in config.alpha_pattern.items() if f".{layer}".endswith(f".{end}")]
        return (ends[0] if ends else config.lora_alpha) / rank


def in_layouts(family: str, states: dict[str, State]) -> dict[str, State]:
    """Merge the sub-models into one state dict in each layout."""
    named = {f"{part}.{name}": t for part, state in states.items() for name, t in state.items()}
    return {"diffusers": named, "original": single_file(family, states, LAYERS)}


def made_base(family: str, folder: Path) -> Base:
    pipeline = randomised(PIPELINES[family]())
    with torch.no_grad():
        for model in models(pipeline).values():
            for parameter in model.parameters():
                parameter.mul_(0.05)
    states = {
        name: {key: tensor.clone() for key, tensor in model.state_dict().items()}
        for name, model in models(pipeline).items()
    }
    files = {}
    for layout, state in in_layouts(family, states).items():
        files[layout] = save(state, folder / f"base.{layout}.safetensors")
    return Base(family, states, files)


def save(state: State, path: Path, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_file({n: t.detach().contiguous().clone() for n, t in state.items()}, path, metadata)
    return path


def trained_lora(base: Base, folder: Path) -> Trained:
    """Train a LoRA for some steps of AdamW; diffusers saves and merges it."""
    torch.manual_seed(4)
    pipeline = base.pipeline()
    configs = {
        "unet": LoraConfig(
            r=4,
            lora_alpha=2,
            target_modules=UNET_TARGETS,
            rank_pattern={"conv1": 3, "to_k": 2},
            alpha_pattern={"conv1": 6, "to_v": 1},
            init_lora_weights=False,
        )
    }
    for name in ("text_encoder", "text_encoder_2"):
        if getattr(pipeline, name, None) is not None:
            configs[name] = LoraConfig(
                r=3, lora_alpha=5, target_modules=TEXT_TARGETS, init_lora_weights=False
            )
    for name, config in configs.items():
        getattr(pipeline, name).add_adapter(config)
    train(pipeline, list(configs))
    layers = {
        name: {
            key: tensor.detach().clone()
            for key, tensor in get_peft_model_state_dict(getattr(pipeline, name)).items()
        }
        for name in configs
    }
    arguments = {}
    for name in configs:
        arguments[f"{name}_lora_layers"] = layers[name]
        arguments[f"{name}_lora_adapter_metadata"] = _plain(configs[name])
    pipeline.save_lora_weights(folder, **arguments)
    file = folder / "pytorch_lora_weights.safetensors"
    merged = merged_by_diffusers(base, file, list(configs))
    return Trained(base, layers, configs, merged, file)


def merged_by_diffusers(base: Base, file: Path, components: list[str]) -> dict[str, State]:
    """The base's weights with the LoRA `file` fused into them by diffusers, in both layouts."""
    pipeline = base.pipeline()
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    pipeline.fuse_lora(components=components)
    pipeline.unload_lora_weights()
    states = {
        name: {key: tensor.clone() for key, tensor in model.state_dict().items()}
        for name, model in models(pipeline).items()
    }
    return in_layouts(base.family, states)


def _plain(config: LoraConfig) -> dict[str, object]:
    return {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}


def train(pipeline: DiffusionPipeline, adapted: list[str]) -> None:
    """Train the weights that require a gradient in the sub-models `adapted`."""
    generator = torch.Generator().manual_seed(3)
    unet = pipeline.unet
    weights = [p for name in adapted for p in getattr(pipeline, name).parameters()]
    optimizer = torch.optim.AdamW([p for p in weights if p.requires_grad], lr=1e-2)
    encoders = [getattr(pipeline, name) for name in adapted if name != "unet"]
    for _ in range(3):
        latents = torch.randn(2, 4, 8, 8, generator=generator)
        ids = torch.randint(2, 40, (2, 7), generator=generator)
        hidden = torch.cat([encoder(ids).last_hidden_state for encoder in encoders], -1)
        added = None
        if unet.config.addition_embed_type:
            width = unet.config.projection_class_embeddings_input_dim
            pooled = width - 6 * unet.config.addition_time_embed_dim
            added = {
                "text_embeds": torch.randn(2, pooled, generator=generator),
                "time_ids": torch.ones(2, 6),
            }
        made = unet(latents, 10, hidden, added_cond_kwargs=added).sample
        loss = (made - torch.randn(made.shape, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
