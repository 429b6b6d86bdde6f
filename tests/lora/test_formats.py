"""LoRA files of each tool: the stored delta of every layer is the product of its factors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts.original import State

from dsvd_registry import Registry
from dsvd_registry.errors import CheckpointError

from .small import (
    ATTENTION,
    TEXT,
    Layers,
    base_weights,
    check_products,
    check_result,
    exact,
    kohya,
    kohya_name,
    pairs,
    peft,
    registry_of,
    weights,
)
from .training import save

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture
def sd15(tmp_path: Path) -> Registry:
    return registry_of(tmp_path, base_weights())


def diffusers_of_old(layers: Layers) -> State:
    """The file of diffusers 0.11 to 0.20: names of attention processors, without an alpha."""
    found = {}
    for (model, path), pair in layers.items():
        name = f"{model}.{path}"
        if model == "unet":
            start, _, end = path.removesuffix(".0").rpartition(".")
            name = f"unet.{start}.processor.{end}_lora"
        else:
            name += ".lora_linear_layer"
        found[f"{name}.up.weight"], found[f"{name}.down.weight"] = pair.up, pair.down
    return found


def only(layers: Layers, *parts: str) -> Layers:
    return {key: pair for key, pair in layers.items() if any(part in key[1] for part in parts)}


def one_of_diffusers(layers: Layers) -> State:
    return {
        k.replace("lora_A.", "lora.down.").replace("lora_B.", "lora.up."): t
        for k, t in peft(layers).items()
    }


def comfyui(layers: Layers) -> State:
    """The file of ComfyUI's own nodes: dots, its own names for the models, alphas."""
    found = {}
    starts = {
        "unet": "diffusion_model.",
        "text_encoder": "text_encoders.clip_l.transformer.",
    }
    for (model, path), pair in layers.items():
        name = starts[model] + path
        found[f"{name}.lora_up.weight"], found[f"{name}.lora_down.weight"] = pair.up, pair.down
        found[f"{name}.alpha"] = torch.tensor(pair.alpha)
    return found


# Each of them says by how much to scale, or is to be scaled by 1.
FORMATS: dict[str, tuple[Callable[[Layers], State], Layers]] = {
    "kohya": (kohya, pairs()),
    "kohya without alpha": (lambda layers: kohya(layers, alpha=False), pairs(scale=1)),
    "kohya, te1": (
        lambda layers: {k.replace("lora_te_", "lora_te1_"): t for k, t in kohya(layers).items()},
        pairs(),
    ),
    "lycoris": (
        lambda layers: {
            k.replace("lora_unet_", "lycoris_"): t
            for k, t in kohya({key: p for key, p in layers.items() if key[0] == "unet"}).items()
        },
        {key: pair for key, pair in pairs().items() if key[0] == "unet"},
    ),
    "diffusers": (peft, pairs(scale=1)),
    "diffusers, an adapter's name": (
        lambda layers: {
            k.replace(".weight", ".default.weight"): t for k, t in peft(layers).items()
        },
        pairs(scale=1),
    ),
    "diffusers, lora.up": (one_of_diffusers, pairs(scale=1)),
    "diffusers, of old": (
        diffusers_of_old,
        only(pairs(scale=1), "attn1.", "attn2.", "self_attn", "mlp"),
    ),
    "ComfyUI": (comfyui, pairs()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(name: str, sd15: Registry, tmp_path: Path) -> None:
    write, layers = FORMATS[name]
    added = sd15.add(save(write(layers), tmp_path / "lora.safetensors"), base="sd15")
    check_products(sd15, "lora", layers)
    check_result(sd15, "lora", base_weights(), layers)
    report = sd15.report(added.ref)
    assert report.left_out == ()
    assert {row.rank for row in report.tensors if row.rank} == {p.rank for p in layers.values()}


@pytest.mark.parametrize("of_base", DTYPES)
@pytest.mark.parametrize("of_lora", DTYPES)
def test_every_dtype(of_base: torch.dtype, of_lora: torch.dtype, tmp_path: Path) -> None:
    """The result has the base's dtype; the product itself is stored, not its rounding."""
    base, layers = base_weights(of_base), pairs(of_lora)
    with registry_of(tmp_path, base) as registry:
        registry.add(save(kohya(layers), tmp_path / "lora.safetensors"), base="sd15")
        check_products(registry, "lora", layers)
        check_result(registry, "lora", base, layers)
        assert registry.verify("lora", deep=True).is_well


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64, torch.int64])
def test_alphas_of_every_dtype(dtype: torch.dtype, sd15: Registry, tmp_path: Path) -> None:
    layers = pairs(scale=2)
    state = {k: t.to(dtype) if k.endswith("alpha") else t for k, t in kohya(layers).items()}
    sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")
    check_products(sd15, "lora", layers)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), [1.0, 2.0]])
def test_an_alpha_that_is_no_number(alpha: object, sd15: Registry, tmp_path: Path) -> None:
    state = kohya(pairs())
    name = kohya_name("unet", "conv_in") + ".alpha"
    state[name] = torch.tensor(alpha)
    with pytest.raises(CheckpointError, match=rf"'{name}' is not one finite number"):
        sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")


def test_full_differences_and_biases(sd15: Registry, tmp_path: Path) -> None:
    """LyCORIS' `.diff` and `.diff_b` in addition to pairs, also of a norm and of a convolution."""
    base, layers = base_weights(), only(pairs(), "to_q", "conv1")
    numbers = torch.Generator().manual_seed(6)
    changes = {
        f"unet.{ATTENTION}.attn1.to_q.bias": "attn1.to_q.diff_b",
        f"unet.{ATTENTION}.norm1.weight": "norm1.diff",
        f"unet.{ATTENTION}.norm1.bias": "norm1.diff_b",
        "unet.conv_in.weight": "conv_in.diff",
    }
    state, sums = kohya(layers), exact(base, layers)
    for name, end in changes.items():
        change = 0.01 * torch.randn(base[name].shape, generator=numbers)
        layer, _, role = end.rpartition(".")
        path = layer if layer == "conv_in" else f"{ATTENTION}.{layer}"
        state[f"{kohya_name('unet', path)}.{role}"] = change
        sums[name] = sums[name] + change.double()
    added = sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")
    result = weights(sd15, "lora")
    for name, tensor in result.items():
        change = sums[name] - base[name].double()
        # What is no pair is a delta as of a fine-tune: a dense one keeps a relative error of 1 %.
        allowed = 1e-2 if name in changes else 1e-5
        off = float((tensor.double() - sums[name]).norm())
        assert off <= allowed * float(change.norm()) + 2**-23 * float(sums[name].norm()), name
    assert sd15.report(added.ref).left_out == ()


def config(**fields: object) -> dict[str, object]:
    """PEFT's configuration for `pairs`: a common alpha, and another for each rank but one."""
    return {"peft_type": "LORA", "r": 4, "lora_alpha": 6, **fields}


def scaled(layers: Layers, alphas: dict[str, float], common: float) -> Layers:
    """The factors, scaled as PEFT scales them."""
    found = {}
    for (model, path), pair in layers.items():
        alpha = next((a for end, a in alphas.items() if path.endswith(end)), common)
        found[model, path] = type(pair)(pair.up, pair.down, alpha / pair.rank)
    return found


ALPHAS = {"to_q": 3.0, f"{ATTENTION}.attn1.to_out.0": 5.0, "mlp.fc1": 1.5}


def test_peft_with_its_configuration_beside(sd15: Registry, tmp_path: Path) -> None:
    layers = {key: pair for key, pair in scaled(pairs(), ALPHAS, 6).items() if key[0] == "unet"}
    file = save(peft(layers, "base_model.model."), tmp_path / "one" / "adapter_model.safetensors")
    beside = file.with_name("adapter_config.json")
    beside.write_text(json.dumps(config(alpha_pattern=ALPHAS, rank_pattern={"to_q": 3})))
    sd15.add(file, base="sd15", name="lora")
    check_products(sd15, "lora", layers)
    check_result(sd15, "lora", base_weights(), layers)
    # The file is the same, and what it means is not.
    assert not sd15.add(file, base="sd15", name="lora").created
    beside.write_text(json.dumps(config(lora_alpha=4, use_rslora=True)))
    assert sd15.add(file, base="sd15", name="lora").ref == "lora@2"
    rooted = {k: type(p)(p.up, p.down, 4 / p.rank**0.5) for k, p in layers.items()}
    check_products(sd15, "lora", rooted)


def test_peft_without_its_configuration(sd15: Registry, tmp_path: Path) -> None:
    layers = {key: pair for key, pair in pairs(scale=1).items() if key[0] == "unet"}
    file = save(peft(layers, "base_model.model."), tmp_path / "one" / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is not beside it") as caught:
        sd15.add(file, base="sd15", name="lora")
    assert "{}" in caught.value.hint
    file.with_name("adapter_config.json").write_text("{}")
    sd15.add(file, base="sd15", name="lora")
    check_products(sd15, "lora", layers)


def test_the_configuration_in_the_header(sd15: Registry, tmp_path: Path) -> None:
    """diffusers writes the sub-model's name before each field's."""
    layers = {
        **{k: p for k, p in scaled(pairs(), ALPHAS, 6).items() if k[0] == "unet"},
        **{k: p for k, p in scaled(pairs(), {}, 2).items() if k[0] == "text_encoder"},
    }
    fields = {
        "unet.lora_alpha": 6,
        "unet.alpha_pattern": ALPHAS,
        "unet.rank_pattern": {"to_q": 3},
        "text_encoder.lora_alpha": 2,
    }
    metadata = {"lora_adapter_metadata": json.dumps(fields)}
    sd15.add(save(peft(layers), tmp_path / "lora.safetensors", metadata), base="sd15")
    check_products(sd15, "lora", layers)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"alpha_pattern": {"(to_q|to_k)": 3}}, "is a regular expression"),
        ({"lora_alpha": "8"}, "is not a number"),
        ({"lora_alpha": 1e400}, "is not a number"),
        ({"init_lora_weights": "pissa_niter_4"}, "initialised with 'pissa_niter_4'"),
        ({"init_lora_weights": "olora"}, "PEFT changed first"),
    ],
)
def test_a_configuration_that_says_no_scale(
    fields: dict[str, object], said: str, sd15: Registry, tmp_path: Path
) -> None:
    file = save(
        peft(only(pairs(), "to_q"), "base_model.model."), tmp_path / "one" / "a.safetensors"
    )
    file.with_name("adapter_config.json").write_text(json.dumps(config(**fields)))
    with pytest.raises(CheckpointError, match=said):
        sd15.add(file, base="sd15")


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_configuration_that_is_none(text: str, sd15: Registry, tmp_path: Path) -> None:
    file = save(peft(pairs(), "base_model.model."), tmp_path / "one" / "a.safetensors")
    file.with_name("adapter_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is not"):
        sd15.add(file, base="sd15")


def test_a_pickled_file(sd15: Registry, tmp_path: Path) -> None:
    layers = pairs()
    torch.save(kohya(layers), tmp_path / "lora.pt")
    sd15.add(tmp_path / "lora.pt", base="sd15")
    check_products(sd15, "lora", layers)


def test_text_encoders_of_todays_transformers(sd15: Registry, tmp_path: Path) -> None:
    """transformers 5.6 leaves `text_model.` out of a CLIP's names; the base may have it."""
    layers = {key: pair for key, pair in pairs(scale=1).items() if key[0] == "text_encoder"}
    state = {k.replace(".text_model.", "."): t for k, t in peft(layers).items()}
    assert not any(TEXT in name for name in state)
    sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")
    check_products(sd15, "lora", layers)
