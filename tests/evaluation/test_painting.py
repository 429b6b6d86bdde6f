"""Each model's pictures are those of its own weights, and what was painted is not painted again."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from tiny_pipeline import weights

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.errors import BaseMismatch, InvalidArgument, TauNotServed
from dsvd_registry.evaluation.live_pipeline import LivePipeline, Settings
from dsvd_registry.evaluation.models import BASE, FINE_TUNE, NOISE, Model, SourceWeights
from dsvd_registry.evaluation.painting import circumstances, painted
from dsvd_registry.evaluation.picture_store import PictureStore
from dsvd_registry.evaluation.rounding import rounded_size
from dsvd_registry.evaluation.subjects import planned_subjects
from dsvd_registry.hashing import sha256_file
from dsvd_registry.progress import silent

from .conftest import Studio

PROMPT = "a photo of sks dog"
QUICK = Settings(steps=2, guidance=1.5)


def by_hand(studio: Studio, state: dict[str, torch.Tensor]) -> np.ndarray:
    """The picture that diffusers paints with these weights, without a line of ours."""
    pipe = StableDiffusionPipeline.from_pretrained(studio.pipeline, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    for part in ("unet", "text_encoder"):
        own = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
        pipe.components[part].load_state_dict(own)
    generator = torch.Generator().manual_seed(5)
    made = pipe(PROMPT, generator=generator, num_inference_steps=2, guidance_scale=1.5)
    return np.asarray(made.images[0])


def int8(values: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Round to nearest on 255 levels, in numpy."""
    wide = values.numpy().astype(np.float64)
    scale = np.abs(wide).max(axis=axes, keepdims=True) / 127
    levels = np.divide(wide, scale, out=np.zeros_like(wide), where=scale > 0).round()
    return torch.from_numpy((levels * scale).astype(np.float32))


def test_each_model_paints_with_its_own_weights(studio: Studio, tmp_path) -> None:
    full = load_file(studio.folder / "subject.safetensors")
    lora = studio.folder / "lora.safetensors"
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    draw = torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 32, generator=draw), torch.randn(32, 2, generator=draw) * 0.3
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, lora)
    request = studio.request(
        taus=(0.5, 0.2), loras={"LoRA": (lora,)}, roundings=("int8 per channel", "int8 per tensor")
    )
    (subject,) = planned_subjects(request, studio.registry)
    pipe = StableDiffusionPipeline.from_pretrained(studio.pipeline, local_files_only=True)
    base = weights(pipe)

    def at(tau: float) -> dict[str, torch.Tensor]:
        made = studio.registry.materialize("subject", tmp_path / f"{tau}.safetensors", tau=tau)
        return load_file(made.path)

    with_lora = copy.deepcopy(base)
    with_lora[f"{layer}.weight"] += up @ down
    every = {name: tuple(range(value.ndim)) for name, value in full.items()}
    expected = {
        BASE: base,
        FINE_TUNE: full,
        NOISE: {name: value.half().float() for name, value in full.items()},
        "int8 per channel": {
            name: int8(value, every[name][1:]) if value.ndim > 1 else value
            for name, value in full.items()
        },
        "int8 per tensor": {
            name: int8(value, every[name]) if value.ndim > 1 else value
            for name, value in full.items()
        },
        "tau 0.5": at(0.5),
        "tau 0.2": at(0.2),
        "LoRA": with_lora,
    }
    assert {model.label for model in subject.models} == expected.keys()
    seen = []
    with LivePipeline(studio.pipeline, studio.registry, "cpu") as live:
        for model in reversed(subject.models):  # the base last: it must be back by then
            with live.holding(model):
                seen.append(live.paint(PROMPT, 5, QUICK))
            theirs = by_hand(studio, expected[model.label]).astype(int)
            # A LoRA is added to a layer's output: rounded otherwise than a sum of weights.
            most = 1 if model.label == "LoRA" else 0
            assert np.abs(seen[-1].astype(int) - theirs).max() <= most, model.label
    assert len({picture.tobytes() for picture in seen}) == len(seen)


def test_sizes(studio: Studio) -> None:
    request = studio.request(taus=(0.5,), roundings=("int8 per channel", "int8 per tensor"))
    (subject,) = planned_subjects(request, studio.registry)
    sizes = {model.label: model.size for model in subject.models}
    full = load_file(studio.folder / "subject.safetensors")
    count = sum(value.numel() for value in full.values())
    assert sizes[FINE_TUNE] == (studio.folder / "subject.safetensors").stat().st_size
    assert sizes[NOISE] == 2 * count
    vectors = sum(value.numel() for value in full.values() if value.ndim < 2)
    matrices = [value for value in full.values() if value.ndim > 1]
    whole = count - vectors + 4 * vectors
    assert sizes["int8 per tensor"] == whole + 4 * len(matrices)
    assert sizes["int8 per channel"] == whole + 4 * sum(len(value) for value in matrices)
    assert 0 < sizes["tau 0.5"] < studio.registry.version("subject").size
    with open_checkpoint(studio.folder / "subject.safetensors") as checkpoint:
        assert rounded_size(checkpoint.tensors.values(), "fp16") == 2 * count


def test_a_stopped_run_goes_on(studio: Studio, tmp_path, monkeypatch) -> None:
    """Nothing is painted twice, by whichever run; a further tau costs its own pictures alone."""
    calls: list[tuple[str, int]] = []
    real = LivePipeline.paint

    def counted(self, prompt, seed, settings):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append((prompt, seed))
        return real(self, prompt, seed, settings)

    monkeypatch.setattr(LivePipeline, "paint", counted)
    request = studio.request()
    subjects = planned_subjects(request, studio.registry)
    models, each = len(subjects[0].models), 4
    store, whole = PictureStore(tmp_path / "stopped"), PictureStore(tmp_path / "whole")
    stop_after = 6
    with pytest.raises(KeyboardInterrupt):
        painted(request, subjects, store, studio.registry, silent)
    stop_after = -1
    assert len(list(store.folder.iterdir())) == 6
    painted(request, subjects, store, studio.registry, silent)
    assert len(calls) == models * each
    calls.clear()
    painted(request, subjects, store, studio.registry, silent)
    assert calls == []
    painted(request, subjects, whole, studio.registry, silent)
    assert {file.name: file.read_bytes() for file in store.folder.iterdir()} == {
        file.name: file.read_bytes() for file in whole.folder.iterdir()
    }
    calls.clear()
    more = studio.request(taus=(0.8, 0.3))  # 0.8 is what is stored
    painted(more, planned_subjects(more, studio.registry), store, studio.registry, silent)
    assert len(calls) == each
    # What is painted otherwise has another name: by other settings, a device, a library, a pipeline.
    common, model = circumstances(request), subjects[0].models[1]
    names = {
        replace(common, **change).key(model, PROMPT, seed)
        for change in (
            {},
            {"settings": {"num_inference_steps": 2}},
            {"device": "cuda"},
            {"versions": {"torch": "0"}},
            {"pipeline": "0"},
        )
        for seed in (0, 1)
    }
    names |= {common.key(one, PROMPT, 0) for one in subjects[0].models}
    assert len(names) == 10 + models - 1


def test_the_fine_tune_is_found(studio: Studio) -> None:
    """Any lossless version of one file gives it; without one something stands in, and that is said."""
    file = studio.folder / "subject.safetensors"
    studio.registry.add(file, base="base", name="again", tau=0.3)
    for options, source, remark in (
        ({}, "subject@1", ""),
        ({"full": (file,)}, file, ""),
        ({"full": (studio.folder / "other.safetensors",)}, None, "is not the file that again@1"),
    ):
        (subject,) = planned_subjects(studio.request("again", **options), studio.registry)
        fine_tune = subject.models[1]
        if source is not None:
            assert isinstance(fine_tune.weights, SourceWeights)
            assert fine_tune.weights.source == source
            assert fine_tune.identity == {"source": sha256_file(file)}
        assert remark in subject.remark and bool(remark) == bool(subject.remark)
    (subject,) = planned_subjects(studio.request("other"), studio.registry)
    assert "other@1 as it is stored (tau 0.8) stands in for the fine-tune" in subject.remark


def test_refusals(studio: Studio, tmp_path) -> None:
    with pytest.raises(TauNotServed, match=r"does not store tau 0\.9"):
        planned_subjects(studio.request("other", taus=(0.9,)), studio.registry)
    with pytest.raises(InvalidArgument, match="by what words"):
        planned_subjects(studio.request(token=None, noun=None), studio.registry)
    with pytest.raises(InvalidArgument, match=r"no model_index\.json"):
        LivePipeline(tmp_path, studio.registry, "cpu")
    (tmp_path / "none.txt").write_text("a photo of a dog\n")
    with pytest.raises(InvalidArgument, match="does not name the subject"):
        planned_subjects(studio.request(prompts=str(tmp_path / "none.txt")), studio.registry)
    (subject,) = planned_subjects(studio.request("other"), studio.registry)
    changed = StableDiffusionPipeline.from_pretrained(studio.pipeline, local_files_only=True)
    changed.unet.conv_in.weight.data += 1
    changed.save_pretrained(tmp_path / "changed")
    with LivePipeline(tmp_path / "changed", studio.registry, "cpu") as live:
        with pytest.raises(BaseMismatch), live.holding(subject.models[-1]):
            pass
        text = tmp_path / "text.safetensors"
        text.write_text("none")
        wrong = Model("wrong", SourceWeights(text), {}, 0)
        with pytest.raises(Exception, match="not a checkpoint"), live.holding(wrong):
            pass
        with pytest.raises(InvalidArgument, match="cannot paint"):
            live.paint("a dog", 0, Settings(side=33))
