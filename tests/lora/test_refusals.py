"""Tensors of a LoRA file that cannot be merged are refused, or skipped and listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from layouts.original import State
from safetensors.torch import load_file

from dsvd_registry import Registry
from dsvd_registry.errors import BaseMismatch, CheckpointError, DsvdError

from .small import (
    ATTENTION,
    BLOCK,
    LAYERS,
    TEXT,
    base_weights,
    check_products,
    kohya,
    kohya_name,
    pairs,
    peft,
    registry_of,
)
from .training import save

TO_Q = kohya_name("unet", f"{ATTENTION}.attn1.to_q")
NORM = kohya_name("unet", f"{ATTENTION}.norm1")
DOTS = f"unet.{ATTENTION}.attn1.to_q"
SHAPE = LAYERS["unet"][f"{ATTENTION}.attn1.to_q"]

PAIR = {"lora_up.weight": (16, 2), "lora_down.weight": (2, 14)}
# What it is called, the layer, and the layer's tensors by their shapes.
UNSUPPORTED: dict[str, tuple[str, str, dict[str, tuple[int, ...]]]] = {
    "LoHa": (
        "LoHa",
        TO_Q,
        {"hada_w1_a": (16, 2), "hada_w1_b": (2, 14), "hada_w2_a": (16, 2), "hada_w2_b": (2, 14)},
    ),
    "LoHa, Tucker": (
        "LoHa",
        kohya_name("unet", "conv_in"),
        {
            "hada_t1": (2, 2, 3, 3),
            "hada_w1_a": (2, 8),
            "hada_w1_b": (2, 4),
            "hada_t2": (2, 2, 3, 3),
            "hada_w2_a": (2, 8),
            "hada_w2_b": (2, 4),
            "alpha": (),
        },
    ),
    "LoKr": ("LoKr", TO_Q, {"lokr_w1": (4, 2), "lokr_w2": (4, 7), "alpha": ()}),
    "LoKr, low-rank": (
        "LoKr",
        TO_Q,
        {"lokr_w1_a": (4, 1), "lokr_w1_b": (1, 2), "lokr_w2_a": (4, 1), "lokr_w2_b": (1, 7)},
    ),
    "DoRA of kohya": ("DoRA", TO_Q, {**PAIR, "alpha": (), "dora_scale": (16, 1)}),
    "DoRA of PEFT": (
        "DoRA",
        DOTS,
        {"lora_A.weight": (2, 14), "lora_B.weight": (16, 2), "lora_magnitude_vector": (16,)},
    ),
    "Tucker": (
        r"lora_mid",
        kohya_name("unet", "conv_in"),
        {
            "lora_up.weight": (8, 2, 1, 1),
            "lora_down.weight": (2, 4, 1, 1),
            "lora_mid.weight": (2, 2, 3, 3),
            "alpha": (),
        },
    ),
    "IA3 of LyCORIS": ("IA3", TO_Q, {"weight": (16, 1), "on_input": ()}),
    "IA3 of PEFT": ("IA3", DOTS, {"ia3_l": (16, 1)}),
    "OFT of LyCORIS": ("OFT", TO_Q, {"oft_blocks": (4, 4, 4), "alpha": ()}),
    "OFT of kohya": ("OFT", TO_Q.replace("lora_", "oft_"), {"oft_blocks": (4, 4, 4)}),
    "OFT of PEFT": ("OFT", DOTS, {"oft_R.weight": (4, 6)}),
    "BOFT": ("BOFT", DOTS, {"boft_R": (1, 4, 4, 4), "boft_s": (16, 1)}),
    "GLoRA": (
        "GLoRA",
        TO_Q,
        {"a1.weight": (2, 14), "a2.weight": (14, 2), "b1.weight": (2, 14), "b2.weight": (16, 2)},
    ),
    "norm": ("a norm's own weights", NORM, {"w_norm": (14,), "b_norm": (14,)}),
    "AdaLoRA": (
        "AdaLoRA",
        DOTS,
        {"lora_A": (2, 14), "lora_B": (16, 2), "lora_E": (2, 1), "ranknum": ()},
    ),
    "VeRA": ("VeRA", DOTS, {"vera_lambda_b": (16,), "vera_lambda_d": (2,)}),
    "embedding": (
        "LoRA of an embedding",
        f"text_encoder.{TEXT}.token_embedding",
        {"lora_embedding_A": (2, 40), "lora_embedding_B": (12, 2)},
    ),
    "set_weight": ("a weight that is replaced", TO_Q, {"set_weight": SHAPE}),
    "rescale": ("a factor of LyCORIS", TO_Q, {**PAIR, "rescale": (16, 1)}),
    "XLabs' words for a block that is not FLUX's": (
        "the base has no such layer",
        "blocks.0.processor",
        {"qkv_lora1.up.weight": (16, 2), "qkv_lora1.down.weight": (2, 14)},
    ),
    "a textual inversion": (
        "a textual inversion",
        "bundle_emb.sks",
        {"string_to_param.*": (2, 12)},
    ),
    "OneTrainer's embeddings": (
        "a textual inversion: the embedding of a new token",
        "bundle_emb.<my style. v1>",
        {"clip_l": (2, 12), "clip_g": (2, 16), "t5_out": (2, 12), "string_to_param.*": (2, 12)},
    ),
    "something else": ("not a tensor of a LoRA", TO_Q, {**PAIR, "of_tomorrow": (3,)}),
    "no name of a layer": ("not a tensor of a LoRA", "unheard", {"of": (3,)}),
    "half a pair": ("other half of the pair is missing", TO_Q, {"lora_up.weight": (16, 2)}),
    "ranks that differ": (
        "does not fit that of its pair",
        TO_Q,
        {"lora_up.weight": (16, 3), "lora_down.weight": (2, 14)},
    ),
    "an alpha alone": ("an alpha without factors", TO_Q, {"alpha": ()}),
    "a pair and a difference": ("of one weight", TO_Q, {**PAIR, "diff": (16, 14)}),
    "two pairs": (
        "two tensors have one role",
        DOTS,
        {
            f"lora_{side}.{name}.weight": shape
            for name in ("one", "two")
            for side, shape in (("A", (2, 14)), ("B", (16, 2)))
        },
    ),
    "another shape": (
        "another shape",
        TO_Q,
        {"lora_up.weight": (15, 2), "lora_down.weight": (2, 14)},
    ),
    "no such layer": (
        "the base has no such layer",
        kohya_name("unet", "down_blocks.9.attentions.0.proj_in"),
        PAIR,
    ),
    "no such bias": (
        "the base has no such layer",
        kohya_name("unet", f"{ATTENTION}.attn7.to_q"),
        {"diff_b": (16,)},
    ),
}


def rest() -> State:
    """Layers that can be merged, whatever the others are."""
    return kohya({key: pairs()[key] for key in KEPT})


KEPT = [("unet", f"{ATTENTION}.attn2.to_k"), ("unet", f"{BLOCK}.proj_in"),
        ("text_encoder", f"{TEXT}.mlp.fc1")]  # fmt: skip


@pytest.fixture
def sd15(tmp_path: Path) -> Registry:
    return registry_of(tmp_path, base_weights())


def unsupported(name: str) -> State:
    _, layer, tensors = UNSUPPORTED[name]
    return {f"{layer}.{end}": torch.full(shape, 0.25) for end, shape in tensors.items()}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_each_kind_is_named(name: str, sd15: Registry, tmp_path: Path) -> None:
    said = UNSUPPORTED[name][0]
    odd = unsupported(name)
    file = save(rest() | odd, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=said) as caught:
        sd15.add(file, base="sd15")
    assert f"{len(odd)} of its tensors cannot be merged" in str(caught.value)
    assert any(repr(tensor) in str(caught.value) for tensor in odd)
    assert "--skip-unsupported" in caught.value.hint
    assert sd15.versions() == []

    added = sd15.add(file, base="sd15", skip_unsupported=True)
    left_out = sd15.report(added.ref).left_out
    assert {entry.name for entry in left_out} == odd.keys()
    assert all(said in entry.reason for entry in left_out)
    check_products(sd15, "lora", {key: pairs()[key] for key in KEPT})
    assert sd15.verify("lora", deep=True).is_well


@pytest.mark.parametrize("name", ["LoHa", "LoKr", "IA3 of LyCORIS", "OFT of kohya", "GLoRA"])
def test_nothing_else_in_the_file(name: str, sd15: Registry, tmp_path: Path) -> None:
    """Nothing can be skipped in such a file, because nothing would be left."""
    file = save(unsupported(name), tmp_path / "lora.safetensors")
    for skip in (False, True):
        with pytest.raises(CheckpointError, match=UNSUPPORTED[name][0]) as caught:
            sd15.add(file, base="sd15", skip_unsupported=skip)
        assert "--skip-unsupported" not in caught.value.hint


def test_several_kinds_are_counted(sd15: Registry, tmp_path: Path) -> None:
    state = rest() | unsupported("LoHa") | unsupported("norm") | unsupported("no such layer")
    with pytest.raises(CheckpointError, match="8 of its tensors") as caught:
        sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")
    for said in ("4 times LoHa", "2 times a norm's", "2 times the base has no such layer"):
        assert said in str(caught.value)


def test_two_layers_of_one_weight(sd15: Registry, tmp_path: Path) -> None:
    """The second of two names of a layer is not added to the first."""
    key = KEPT[0]
    state = rest() | peft({key: pairs()[key]})
    file = save(state, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match="another layer of the file changes the same weights"):
        sd15.add(file, base="sd15")
    added = sd15.add(file, base="sd15", skip_unsupported=True)
    assert len(sd15.report(added.ref).left_out) == 2


def test_a_base_in_eight_bits(tmp_path: Path) -> None:
    base = base_weights()
    name = f"unet.{ATTENTION}.attn2.to_k.weight"
    base[name] = base[name].to(torch.float8_e4m3fn)
    with registry_of(tmp_path, base) as registry:
        file = save(rest(), tmp_path / "lora.safetensors")
        with pytest.raises(CheckpointError, match="the base's layer is of F8_E4M3"):
            registry.add(file, base="sd15")
        added = registry.add(file, base="sd15", skip_unsupported=True)
        assert len(registry.report(added.ref).left_out) == 3


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e38, 1e-38])
def test_numbers_that_give_no_weights(number: float, sd15: Registry, tmp_path: Path) -> None:
    state = {k: torch.full_like(t, number) if "to_k" in k and "alpha" not in k else t
             for k, t in rest().items()}  # fmt: skip
    with pytest.raises(CheckpointError, match=r"to_k\.weight' is not finite, or larger or smaller"):
        sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")
    assert sd15.versions() == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float8_e5m2])
def test_factors_of_other_dtypes(dtype: torch.dtype, sd15: Registry, tmp_path: Path) -> None:
    state = {name: t.to(dtype) if "to_k" in name else t for name, t in rest().items()}
    with pytest.raises(CheckpointError, match=r"3 times numbers of F(64|8_E5M2)"):
        sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")


def test_a_lora_that_changes_nothing(sd15: Registry, tmp_path: Path) -> None:
    """An untrained LoRA gives the base."""
    state = {name: torch.zeros_like(t) if "lora_up" in name else t for name, t in rest().items()}
    added = sd15.add(save(state, tmp_path / "lora.safetensors"), base="sd15")
    assert {row.kind for row in sd15.report(added.ref).tensors} == {"same"}
    made = sd15.materialize("lora", tmp_path / "out.safetensors")
    base = base_weights()
    assert all(torch.equal(t, base[name]) for name, t in load_file(made.path).items())


def pair(layer: str, rows: int, columns: int) -> State:
    return {f"{layer}.lora_up.weight": torch.ones(rows, 2),
            f"{layer}.lora_down.weight": torch.ones(2, columns)}  # fmt: skip


CROSS = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
FAMILIES: dict[str, tuple[State, dict[str, str]]] = {
    "Stable Diffusion 2.x": (pair(CROSS, 320, 1024), {}),
    "Stable Diffusion XL": (pair(CROSS.replace("ks_0_at", "ks_1_at"), 640, 2048), {}),
    "Stable Diffusion XL, second encoder": (
        pair("lora_te2_text_model_encoder_layers_0_mlp_fc1", 5120, 1280),
        {},
    ),
    "Stable Diffusion XL, its layers": (
        pair("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", 640, 640),
        {},
    ),
    "Stable Diffusion XL refiner": (rest(), {"ss_base_model_version": "sdxl_refiner_v1-0"}),
    "Stable Diffusion 3": (pair("lora_unet_joint_blocks_0_x_block_attn_qkv", 4608, 1536), {}),
    "Stable Diffusion 3, diffusers": (
        pair("transformer.transformer_blocks.0.attn.add_q_proj", 1536, 1536),
        {"modelspec.architecture": "stable-diffusion-3-medium/lora"},
    ),
    "FLUX": (pair("lora_unet_double_blocks_0_img_attn_qkv", 9216, 3072), {}),
    "FLUX, diffusers": (
        pair("transformer.single_transformer_blocks.0.attn.to_q", 3072, 3072),
        {},
    ),
    "Stable Diffusion 2.x, its header": (rest(), {"ss_base_model_version": "sd_v2_768_v"}),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("skip", [False, True])
def test_another_family_is_named(family: str, skip: bool, sd15: Registry, tmp_path: Path) -> None:
    state, metadata = FAMILIES[family]
    file = save(state, tmp_path / "lora.safetensors", metadata)
    said = rf"looks like a LoRA of {family.partition(',')[0]}; the base 'sd15' is Stable Diffusion 1\.x"
    with pytest.raises(BaseMismatch, match=said):
        sd15.add(file, base="sd15", skip_unsupported=skip)


def test_no_layer_in_common(sd15: Registry, tmp_path: Path) -> None:
    """The LoRA's family is unknown."""
    file = save(pair("blocks.0.mixer", 8, 8), tmp_path / "lora.safetensors")
    with pytest.raises(BaseMismatch, match=r"changes no layer of the base 'sd15' \(Stable Diff"):
        sd15.add(file, base="sd15", skip_unsupported=True)


@pytest.mark.parametrize("wish", [{"max_error": 0.1}, {"budget": 10_000}, {"keep_noise": True}])
def test_wishes_that_are_of_whole_checkpoints(
    wish: dict[str, object], sd15: Registry, tmp_path: Path
) -> None:
    with pytest.raises(DsvdError, match="is a LoRA file, which takes none of"):
        sd15.add(save(rest(), tmp_path / "lora.safetensors"), base="sd15", **wish)
