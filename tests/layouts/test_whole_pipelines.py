"""SD 3 and FLUX with their VAE and text encoders: a folder, and the one file that ComfyUI takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusion3Pipeline,
)
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from dsvd_registry import Registry
from dsvd_registry.layouts import describe, map_names
from dsvd_registry.layouts.original_layout import original_tensors

from .original import State, original_vae, prefixed
from .pipelines import clip, folder, models, randomised, vae, with_text_model
from .reading import infos, mapped
from .transformers import (
    WIDTH,
    flux,
    flux_conversion,
    original_flux,
    original_sd3,
    stable_diffusion_3,
)

TOKENIZERS = {
    "sd3": ("tokenizer", "tokenizer_2", "tokenizer_3"),
    "flux": ("tokenizer", "tokenizer_2"),
}


def t5() -> T5EncoderModel:
    sizes = {"vocab_size": 24, "d_model": 20, "d_kv": 10, "d_ff": 24}
    return T5EncoderModel(T5Config(**sizes, num_layers=2, num_heads=2))


def pipeline_of(family: str) -> DiffusionPipeline:
    absent = dict.fromkeys(TOKENIZERS[family])
    scheduler = FlowMatchEulerDiscreteScheduler()
    if family == "flux":
        return FluxPipeline(
            transformer=flux(),
            vae=vae(),
            text_encoder=CLIPTextModel(clip(12)),
            text_encoder_2=t5(),
            scheduler=scheduler,
            **absent,
        )
    return StableDiffusion3Pipeline(
        transformer=stable_diffusion_3(),
        vae=vae(),
        text_encoder=CLIPTextModelWithProjection(clip(12)),
        text_encoder_2=CLIPTextModelWithProjection(clip(16, hidden_act="gelu")),
        text_encoder_3=t5(),
        scheduler=scheduler,
        **absent,
    )


def whole_file(family: str, states: dict[str, State]) -> State:
    """The sub-models in the original layout, with the prefixes of ComfyUI's files."""
    t5xxl = "text_encoders.t5xxl.transformer."
    found = prefixed("text_encoders.clip_l.transformer.", with_clip_names(states["text_encoder"]))
    if family == "flux":
        found |= prefixed("model.diffusion_model.", original_flux(states["transformer"]))
        found |= prefixed("vae.", original_vae(states["vae"]))
        return found | prefixed(t5xxl, without_copies(states["text_encoder_2"]))
    found |= prefixed("model.diffusion_model.", original_sd3(states["transformer"]))
    found |= prefixed("first_stage_model.", original_vae(states["vae"]))
    second = with_clip_names(states["text_encoder_2"])
    found |= prefixed("text_encoders.clip_g.transformer.", second)
    return found | prefixed(t5xxl, without_copies(states["text_encoder_3"]))


def with_clip_names(state: State) -> State:
    projection = {name: t for name, t in state.items() if name.startswith("text_projection.")}
    rest = {name: t for name, t in state.items() if name not in projection}
    return with_text_model(rest) | projection


def without_copies(state: State) -> State:
    """Without T5's second name of its embedding, which files leave out."""
    return {name: t for name, t in state.items() if name != "encoder.embed_tokens.weight"}


@dataclass(frozen=True)
class Whole:
    """A pipeline, its folder on disk, and its tensors in the two layouts."""

    family: str
    pipeline: DiffusionPipeline
    path: Path
    diffusers: State
    original: State


@pytest.fixture(scope="module", params=TOKENIZERS)
def whole(request, tmp_path_factory) -> Whole:
    pipeline = randomised(pipeline_of(request.param))
    with torch.no_grad():  # also what is no parameter
        for model in models(pipeline).values():
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    buffer.normal_(generator=torch.Generator().manual_seed(3))
    path = tmp_path_factory.mktemp(request.param)
    pipeline.save_pretrained(path)
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    return Whole(request.param, pipeline, path, folder(path), whole_file(request.param, states))


def loaded(whole: Whole, file: Path, monkeypatch: pytest.MonkeyPatch) -> DiffusionPipeline:
    """The pipeline as diffusers loads it from a single file."""
    own = dict(SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"])
    own["checkpoint_mapping_fn"] = lambda checkpoint, **_: flux_conversion(WIDTH)(checkpoint)
    monkeypatch.setitem(SINGLE_FILE_LOADABLE_CLASSES, "FluxTransformer2DModel", own)
    return type(whole.pipeline).from_single_file(
        str(file),
        config=str(whole.path),
        local_files_only=True,
        torch_dtype=torch.float32,
        **dict.fromkeys(TOKENIZERS[whole.family]),
    )


def assert_loads(whole: Whole, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        f"{part}.{name}": tensor
        for part, model in models(loaded(whole, file, monkeypatch)).items()
        for name, tensor in model.state_dict().items()
    }
    # diffusers puts the identity here, whatever SD 3's file has.
    put_in = {"text_encoder.text_projection.weight"} if whole.family == "sd3" else set()
    for name, tensor in whole.diffusers.items():
        assert name in put_in or torch.equal(made[name], tensor), name


def test_diffusers_reads_the_files_of_these_tests(whole, tmp_path, monkeypatch):
    save_file(whole.original, tmp_path / "one.safetensors")
    assert_loads(whole, tmp_path / "one.safetensors", monkeypatch)


def test_both_directions(whole):
    for base, fine_tune in (
        (whole.original, whole.diffusers),
        (whole.diffusers, whole.original),
    ):
        names = mapped(base, fine_tune)
        assert names.unmatched == ()
        assert {name for one in names.correspondences for name in one.base.tensors} == base.keys()


def test_described(whole):
    name = {"sd3": "Stable Diffusion 3", "flux": "FLUX"}[whole.family]
    assert str(describe(infos(whole.original))) == f"{name}, original layout"
    assert str(describe(infos(whole.diffusers))) == f"{name}, diffusers layout"


def test_the_original_file_of_a_folder(whole):
    made = original_tensors(infos(whole.diffusers))
    assert {name: info.shape for name, info in made.items()} == {
        name: tuple(tensor.shape) for name, tensor in whole.original.items()
    }
    assert map_names(infos(whole.diffusers), made).unmatched == ()


def test_from_a_folder_to_a_file_and_back(whole, tmp_path, monkeypatch):
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", whole.path)
    save_file(whole.original, tmp_path / "one.safetensors", {"format": "pt"})
    registry.add(tmp_path / "one.safetensors", base="base", name="file", lossless=True)
    rows = registry.report("file").tensors
    assert {row.kind for row in rows} == {"same"}  # the same numbers, all of them
    back = registry.materialize("file", tmp_path / "folder", layout="diffusers")
    assert back.left_out == ()
    found = folder(back.path)
    assert found.keys() == whole.diffusers.keys()
    assert all(torch.equal(found[name], whole.diffusers[name]) for name in found)
    registry.add(whole.path, base="base", name="folder", lossless=True)
    made = registry.materialize("folder", tmp_path / "made.safetensors", layout="single-file")
    assert made.left_out == ()
    one = load_file(made.path)
    assert one.keys() == whole.original.keys()
    assert all(torch.equal(one[name], whole.original[name]) for name in one)
    assert_loads(whole, made.path, monkeypatch)
