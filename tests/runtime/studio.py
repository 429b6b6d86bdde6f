"""A registry with a base and two subjects in different layouts, and pipelines loaded from files."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from layouts.original import State
from layouts.pipelines import models, randomised, single_file
from lora.pipelines import LAYERS, PIPELINES
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry

Outputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Studio:
    """A registry with the subjects `one` and `other`.

    `one` changes the U-Net and the text encoders, `other` attention and the VAE's decoder. `folder`
    is the base's diffusers folder, whose configuration is used for every other file.
    """

    family: str
    folder: Path
    registry: Registry

    def pipeline(self, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
        """A pipeline of the base, loaded by diffusers from its folder."""
        return in_own_memory(from_folder(self.family, self.folder, dtype))

    def materialized(self, ref: str, dtype: torch.dtype, out: Path, **asked) -> DiffusionPipeline:
        """A new pipeline, loaded from the materialised file of a version."""
        out.mkdir()
        made = self.registry.materialize(ref, out / "made.safetensors", **asked)
        return in_own_memory(loaded(self.family, self.folder, made.path, dtype))


def loaded(family: str, folder: Path, file: Path, dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline that diffusers loads from one file in either layout."""
    state = load_file(file)
    kind = type(PIPELINES[family]())
    if any(name.startswith("model.diffusion_model.") for name in state):
        # Without a word on them `from_single_file` misses the tokenizers that there are not.
        absent = dict.fromkeys(("tokenizer", "safety_checker", "feature_extractor"))
        return kind.from_single_file(
            str(file),
            config=str(folder),
            local_files_only=True,
            dtype=dtype,
            **(absent if family in ("sd1", "sd2") else {}),
        )
    parts: dict[str, State] = defaultdict(dict)
    for name, tensor in state.items():
        part, _, local = name.partition(".")
        parts[part][local] = tensor
    out = file.parent / "folder"
    for path in folder.rglob("*.json"):
        target = out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    for part in json.loads((folder / "model_index.json").read_text()):
        for path in (folder / part).glob("*.safetensors"):
            save_file(parts[part], out / part / path.name, metadata={"format": "pt"})
    return from_folder(family, out, dtype)


def from_folder(family: str, folder: Path, dtype: torch.dtype) -> DiffusionPipeline:
    """The models of a folder, loaded by diffusers or transformers, without tokenizers."""
    pipeline = PIPELINES[family]()
    for name, model in models(pipeline).items():
        found = type(model).from_pretrained(folder / name, dtype=dtype)
        pipeline.register_modules(**{name: found})
    return pipeline


def in_own_memory(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    """Copy the weights: in a mapped file they have any alignment, on which last bits depend."""
    for model in models(pipeline).values():
        for parameter in model.parameters():
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    return pipeline


def studio(
    family: str, base: str, tuned: str, dtypes: tuple[torch.dtype, torch.dtype], where: Path
) -> Studio:
    """Train two subjects a few steps, and add them. `base`, `tuned`: original or diffusers."""
    pipeline = PIPELINES[family]()
    with torch.no_grad():
        for model in models(randomised(pipeline)).values():
            for parameter in model.parameters():
                parameter.mul_(0.05)
    pipeline.to(dtypes[0]).save_pretrained(where / "folder")
    pipeline.to(torch.float32)  # of the numbers that the base has
    registry = Registry.init(where / "registry")
    registry.add_base("base", written(family, pipeline, base, dtypes[0], where / "base"))
    for name, train in (("one", train_one), ("other", train_other)):
        subject = copy.deepcopy(pipeline)
        train(subject)
        file = written(family, subject, tuned, dtypes[1], where / name)
        registry.add(file, base="base", name=name, tau=0.9)
    return Studio(family, where / "folder", registry)


def written(
    family: str, pipeline: DiffusionPipeline, layout: str, dtype: torch.dtype, stem: Path
) -> Path:
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    if layout == "original":
        state = single_file(family, states, LAYERS)
    else:
        state = {f"{part}.{n}": t for part, found in states.items() for n, t in found.items()}
    path = stem.with_suffix(".safetensors")
    save_file({name: t.detach().to(dtype).clone() for name, t in state.items()}, path)
    return path


def train_one(pipeline: DiffusionPipeline) -> None:
    found = models(pipeline)
    texts = [model for name, model in found.items() if name.startswith("text_encoder")]
    train([pipeline.unet, *texts], pipeline, lambda: run(pipeline))


def train_other(pipeline: DiffusionPipeline) -> None:
    unet = pipeline.unet
    attention = [model for name, model in unet.named_modules() if name.endswith("attn2")]
    train([*attention, pipeline.vae.decoder], pipeline, lambda: run(pipeline))


def train(trained, pipeline, outputs) -> None:
    optimizer = torch.optim.AdamW([p for m in trained for p in m.parameters()], lr=1e-4)
    for _ in range(2):
        for model in models(pipeline).values():
            model.zero_grad()
        sum((found - 1).square().mean() for found in outputs().values()).backward()
        optimizer.step()


def run(pipeline: DiffusionPipeline) -> Outputs:
    """Run every sub-model once, on the pipeline's device and in its dtype."""
    device, dtype = pipeline.unet.device, pipeline.unet.dtype
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    unet, found = pipeline.unet, {}
    ids = torch.randint(2, 40, (2, 7), generator=generator).to(device)
    for name, model in models(pipeline).items():
        if name.startswith("text_encoder"):
            outputs = model(ids)
            found[name] = outputs.last_hidden_state
            if "text_embeds" in outputs:
                found[f"{name} projected"] = outputs.text_embeds
    added = None
    if unet.config.addition_embed_type:
        pooled = unet.config.projection_class_embeddings_input_dim
        pooled -= 6 * unet.config.addition_time_embed_dim
        added = {"text_embeds": normal(2, pooled), "time_ids": torch.ones(2, 6, device=device)}
    context = normal(2, 7, unet.config.cross_attention_dim)
    found["unet"] = unet(normal(2, 4, 8, 8), 10, context, added_cond_kwargs=added).sample
    found["vae"] = pipeline.vae.decode(normal(1, 4, 4, 4)).sample
    return found


def outputs_of(pipeline: DiffusionPipeline) -> Outputs:
    with torch.no_grad():
        return run(pipeline)


def weights_of(pipeline: DiffusionPipeline) -> State:
    """Copies of all tensors of the pipeline."""
    return {
        f"{part}.{name}": tensor.detach().cpu().clone()
        for part, model in models(pipeline).items()
        for name, tensor in model.state_dict().items()
    }


def changed(before: State, after: State) -> set[str]:
    """The names of tensors with other bits."""
    assert before.keys() == after.keys()
    return {name for name in before if not same(before[name], after[name])}


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    as_bytes = [t.contiguous().reshape(-1).view(torch.uint8) for t in (left, right)]
    return torch.equal(*as_bytes)
