"""Changes too small for fp16: the alphas scale them, or nothing is written.

The truth is the version's own difference, which the product of the file's factors is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts.original import State
from layouts.pipelines import models, randomised
from lora.pipelines import PIPELINES
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

from .conftest import Subject, changed, in_layout
from .effect import check, whole
from .test_diffusers import loaded

SIZES = (1.0, 1e-4, 1e-8, 1e-13, 1e-17, 1e-28)
LAYOUTS = {"kohya": "diffusers", "peft": "diffusers", "comfyui": "original"}
PREFIXES = {
    "diffusers": (("unet.", "lora_unet_"), ("text_encoder.", "lora_te_")),
    "original": (
        ("model.diffusion_model.", "lora_unet_"),
        ("cond_stage_model.transformer.", "lora_te_"),
    ),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float, str], Subject]:
    """SD 1 whose weights all have about the same size, and a change of 2 % of it."""
    made: dict[tuple[float, str], Subject] = {}

    def get(size: float, layout: str) -> Subject:
        if (size, layout) not in made:
            folder = tmp_path_factory.mktemp("tiny")
            pipeline = randomised(PIPELINES["sd1"]())
            tuned = changed(pipeline)
            with torch.no_grad():
                for one in (pipeline, tuned):
                    for model in models(one).values():
                        for parameter in model.parameters():
                            parameter.mul_(size)
            base = in_layout("sd1", layout, pipeline)
            save_file(base, folder / "base.safetensors")
            save_file(in_layout("sd1", layout, tuned), folder / "subject.safetensors")
            registry = Registry.init(folder / "registry")
            registry.add_base("base", folder / "base.safetensors")
            registry.add(folder / "subject.safetensors", base="base", tau=0.9)
            with registry.tensors("subject") as tensors:
                version = {name: tensors[name].clone() for name in tensors}
            made[size, layout] = Subject("sd1", layout, registry, base, version, folder, pipeline)
        return made[size, layout]

    return get


def products(file: State) -> dict[str, torch.Tensor]:
    """The change that a loader makes to each module: kohya's factors times alpha over rank, float64."""
    found = {}
    for key in file:
        if not key.endswith(".lora_up.weight"):
            continue
        name = key.removesuffix(".lora_up.weight")
        up, down, alpha = (
            file[f"{name}.{end}"].double()
            for end in ("lora_up.weight", "lora_down.weight", "alpha")
        )
        found[name] = (up.flatten(1) @ down.flatten(1)) * (alpha / len(down))
    return found


def modules(subject: Subject) -> State:
    """The difference of each weight of the U-Net and text encoder, by kohya's name of its module."""
    found = {}
    for name, tensor in subject.version.items():
        for prefix, theirs in PREFIXES[subject.layout]:
            if name.startswith(prefix) and name.endswith(".weight"):
                path = name.removeprefix(prefix).removesuffix(".weight")
                delta = tensor.double() - subject.base[name].double()
                for called in (path, f"text_model.{path}"):
                    found[theirs + called.replace(".", "_")] = delta
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["kohya", "comfyui"])
def test_the_product_is_the_change(tiny, file: Path, size: float, form: str) -> None:
    subject = tiny(size, LAYOUTS[form])
    lora = subject.registry.export_lora("subject", file, format=form)
    tensors = load_file(file)
    deltas, found = modules(subject), products(tensors)
    assert found
    lost = held = 0.0
    for name, product in found.items():
        assert product.any() or name.endswith("self_attn_out_proj"), name
        if name not in deltas:
            assert form == "comfyui"  # what it calls by a path, which holds dots
            continue
        delta = deltas[name].flatten(1)
        error = float((product - delta).norm())
        assert error <= 2e-3 * float(delta.norm()), name
        lost, held = lost + error**2, held + float(delta.square().sum())
    assert held > 0
    assert lost < 1e-6 * held
    assert max(float(t.abs().max()) for n, t in tensors.items() if "lora_" in n) < 65504
    if form == "kohya":
        assert lora.rounding_error < 1e-3
    alphas = {module.alpha / module.rank for module in lora.modules}
    if size == 1.0:  # as it always was
        assert form == "kohya" or alphas == {1.0}
    else:
        assert max(alphas) < 1.0 or size == 1e-4


@pytest.mark.parametrize("size", [1e-8, 1e-13])
def test_diffusers_loads_it(tiny, file: Path, size: float) -> None:
    subject = tiny(size, "diffusers")
    lora = subject.registry.export_lora("subject", file, format="kohya")
    found = subject.named(loaded(subject.pipeline(), file))
    check(subject, found, lora)


@pytest.mark.parametrize("size", [1e-13, 1e-17])
def test_peft_has_no_alpha_that_all_read(tiny, file: Path, size: float) -> None:
    subject = tiny(size, "diffusers")
    with pytest.raises(
        InvalidArgument, match=r"too small for fp16, which would lose \d+% of it"
    ) as e:
        subject.registry.export_lora("subject", file, format="peft")
    assert "--dtype fp32" in e.value.hint
    assert not list(file.parent.iterdir())
    lora = subject.registry.export_lora("subject", file, format="peft", dtype="fp32")
    assert lora.rounding_error < 1e-6
    check(subject, subject.named(loaded(subject.pipeline(), file)), lora)


def test_a_part_of_it_is_said(tiny, file: Path) -> None:
    """The account's rounding error is that of the file."""
    subject = tiny(1e-8, "diffusers")
    lora = subject.registry.export_lora("subject", file, format="peft")
    tensors = load_file(file)
    lost = 0.0
    for name, before in subject.base.items():
        key = name.removesuffix(".weight")
        if f"{key}.lora_A.weight" not in tensors:
            continue
        up, down = (tensors[f"{key}.lora_{side}.weight"].double() for side in "BA")
        delta = (subject.version[name].double() - before.double()).flatten(1)
        lost += float((up.flatten(1) @ down.flatten(1) - delta).square().sum())
    expected = (lost**0.5) / whole(subject)
    assert lora.rounding_error == pytest.approx(expected, rel=0.1, abs=1e-4)
