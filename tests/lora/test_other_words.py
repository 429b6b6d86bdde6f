"""LoRAs of FLUX and SD 3 in the names of the layout that the base is not in.

The truth is the sum in float64 in the LoRA's own names, converted to the base's by diffusers itself.
The conversion for FLUX needs a width of 3072, so that it gets each row of a small transformer 128
times.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from layouts.original import State

from dsvd_registry import Registry
from dsvd_registry.checkpoint import TensorInfo, open_checkpoint
from dsvd_registry.errors import CheckpointError
from dsvd_registry.lora import Configuration, Merge, place_changes, read_adapter

from .small import registry_of, weights
from .test_transformers import CONVERSIONS, ORIGINAL, WIDTH, random_base, small_transformer
from .training import save

RANK = 3
WIDER = 3072 // WIDTH


def in_diffusers_layout(family: str, original: State) -> State:
    wide = {name: t.repeat_interleave(WIDER, 0) for name, t in original.items()}
    return {name: t[::WIDER].clone() for name, t in CONVERSIONS[family](wide).items()}


def pair(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    up = 0.1 * torch.randn(rows, RANK, generator=numbers)
    return up, 0.1 * torch.randn(RANK, columns, generator=numbers)


class Sums:
    """The weights `state` in some names, a LoRA of their layers, and the merged weights."""

    def __init__(self, state: State) -> None:
        self.state, self.lora = state, dict[str, torch.Tensor]()
        self.merged = {name: t.double() for name, t in state.items()}

    def add(self, layer: str, spelled: str, *, alpha: float | None = 2.0) -> None:
        name = f"{layer}.weight"
        up, down = pair(*self.state[name].shape, seed=len(self.lora))
        self.lora[f"{spelled}.lora_up.weight"], self.lora[f"{spelled}.lora_down.weight"] = up, down
        scale = 1.0
        if alpha is not None:
            self.lora[f"{spelled}.alpha"], scale = torch.tensor(alpha), alpha / RANK
        self.merged[name] += scale * (up.double() @ down.double())

    def add_bias(self, layer: str, spelled: str) -> None:
        name = f"{layer}.bias"
        change = 0.01 * torch.randn(len(self.state[name]), generator=torch.Generator())
        self.lora[f"{spelled}.diff_b"] = change
        self.merged[name] += change.double()


def layers(state: State) -> list[str]:
    """The layers whose weights are matrices."""
    matrices = [name for name, t in state.items() if name.endswith(".weight") and t.ndim == 2]
    return [name.removesuffix(".weight") for name in matrices]


def check(result: State, base: State, expected: State, prefix: str = "") -> None:
    changed = 0
    for name, sums in expected.items():
        before, after = base[f"{prefix}{name}"].double(), result[f"{prefix}{name}"].double()
        change = float((sums - before).norm())
        # A bias is a delta as of a fine-tune, of which a dense one keeps a relative error of 1 %.
        error = 1e-5 if sums.ndim > 1 else 1e-2
        off = float((after - sums).norm())
        assert off <= error * change + 2**-23 * float(sums.norm()), name
        assert (change > 0) == (not torch.equal(before, after)), name
        changed += change > 0
    assert changed


def added(registry: Registry, lora: State, path: Path) -> State:
    made = registry.add(save(lora, path / "lora.safetensors"), base="sd15")
    assert registry.report(made.ref).left_out == ()
    assert registry.verify("lora", deep=True).is_well
    return weights(registry, "lora")


@pytest.mark.parametrize("prefix", ["transformer.", ""])
@pytest.mark.parametrize("spelling", ["kohya", "ComfyUI"])
@pytest.mark.parametrize("family", ORIGINAL)
def test_original_words_for_a_base_of_diffusers(
    family: str, spelling: str, prefix: str, tmp_path: Path
) -> None:
    """All layers are merged: fused ones by rows; the halves of the last modulation change places."""
    sums = Sums(random_base(ORIGINAL[family](WIDTH), ""))
    base = {f"{prefix}{n}": t for n, t in in_diffusers_layout(family, sums.state).items()}
    for layer in layers(sums.state):
        flat = f"lora_unet_{layer.replace('.', '_')}"
        spelled = flat if spelling == "kohya" else f"diffusion_model.{layer}"
        sums.add(layer, spelled)
        if layer.endswith(("qkv", "linear1", "adaLN_modulation.1", "proj")):
            sums.add_bias(layer, spelled)
    with registry_of(tmp_path, base) as registry:
        result = added(registry, sums.lora, tmp_path)
    check(result, base, in_diffusers_layout(family, sums.merged), prefix)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
@pytest.mark.parametrize("spelling", ["PEFT", "OneTrainer", "lycoris"])
@pytest.mark.parametrize("family", ORIGINAL)
def test_words_of_diffusers_for_an_original_base(
    family: str, spelling: str, prefix: str, tmp_path: Path
) -> None:
    """All layers are merged, some of them into rows of one tensor."""
    base = random_base(ORIGINAL[family](WIDTH), prefix)
    original = {name.removeprefix(prefix): t for name, t in base.items()}
    sums = Sums(in_diffusers_layout(family, original))
    for layer in layers(sums.state):
        start = {"OneTrainer": "lora_transformer_", "lycoris": "lycoris_"}.get(spelling)
        spelled = f"{start}{layer.replace('.', '_')}" if start else f"transformer.{layer}"
        sums.add(layer, spelled, alpha=None if spelling == "PEFT" else 5.0)
        if layer.endswith(("to_k", "proj_mlp", "norm_out.linear")):
            sums.add_bias(layer, spelled)
    lora = sums.lora
    if spelling == "PEFT":
        lora = {k.replace("lora_up", "lora_B").replace("lora_down", "lora_A"): t
                for k, t in lora.items()}  # fmt: skip
    with registry_of(tmp_path, base) as registry:
        result = added(registry, lora, tmp_path)
    converted = {
        side: in_diffusers_layout(family, {n.removeprefix(prefix): t for n, t in state.items()})
        for side, state in (("base", base), ("result", result))
    }
    check(converted["result"], converted["base"], sums.merged)


def xlabs(sums: Sums, original: State, start: str = "") -> None:
    """A LoRA of every block, with the keys of XLabs-AI/x-flux, and of USO for single blocks."""
    words = {
        "img_attn.qkv": "qkv_lora1",
        "img_attn.proj": "proj_lora1",
        "txt_attn.qkv": "qkv_lora2",
        "txt_attn.proj": "proj_lora2",
        "linear2": "proj_lora",
    }
    found: State = {}
    for layer in layers(original):
        block, _, inside = layer.partition("_blocks.")
        number, _, inside = inside.partition(".")
        if inside in words:
            sums.add(layer, "now", alpha=None)
            spelled = f"{start}{block}_blocks.{number}.processor.{words[inside]}"
            found[f"{spelled}.up.weight"] = sums.lora.pop("now.lora_up.weight")
            found[f"{spelled}.down.weight"] = sums.lora.pop("now.lora_down.weight")
        elif inside == "linear1":
            spelled = f"{start}{block}_blocks.{number}.processor.qkv_lora"
            up, down = pair(3 * WIDTH, WIDTH, seed=int(number))
            found[f"{spelled}.up.weight"], found[f"{spelled}.down.weight"] = up, down
            sums.merged[f"{layer}.weight"][: 3 * WIDTH] += up.double() @ down.double()
    sums.lora = found


@pytest.mark.parametrize("start", ["", "diffusion_model."])
@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_xlabs(layout: str, start: str, tmp_path: Path) -> None:
    original = random_base(ORIGINAL["flux"](WIDTH), "")
    sums = Sums(original)
    xlabs(sums, original, start)
    is_original = layout == "original"
    base = original if is_original else in_diffusers_layout("flux", original)
    merged = sums.merged if is_original else in_diffusers_layout("flux", sums.merged)
    with registry_of(tmp_path, base) as registry:
        result = added(registry, sums.lora, tmp_path)
    check(result, base, merged)


def flux_pipeline() -> FluxPipeline:
    missing = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return FluxPipeline(scheduler=None, transformer=small_transformer("flux"), **missing)


SHAPES = {
    "double_blocks.0.img_attn.qkv": (72, 24),
    "double_blocks.0.txt_attn.qkv": (72, 24),
    "double_blocks.0.img_attn.proj": (24, 24),
    "double_blocks.0.txt_attn.proj": (24, 24),
    "single_blocks.0.linear2": (24, 120),
}
OUTSIDE = {
    "double_blocks.0.img_mod.lin": (144, 24),
    "double_blocks.0.txt_mlp.0": (96, 24),
    "single_blocks.0.modulation.lin": (72, 24),
    "final_layer.adaLN_modulation.1": (48, 24),
    "final_layer.linear": (16, 24),
    "img_in": (24, 16),
    "guidance_in.out_layer": (24, 24),
}


def kohya(shapes: dict[str, tuple[int, int]]) -> State:
    lora: State = {}
    for number, (layer, shape) in enumerate(shapes.items()):
        up, down = pair(*shape, seed=number)
        spelled = f"lora_unet_{layer.replace('.', '_')}"
        lora[f"{spelled}.lora_up.weight"], lora[f"{spelled}.lora_down.weight"] = up, down
        # diffusers leaves the alphas out at the end of the model: there they are the rank.
        alpha = RANK if layer.startswith("final_layer") else 1 + number % 4
        lora[f"{spelled}.alpha"] = torch.tensor(float(alpha))
    return lora


@pytest.mark.parametrize("words", ["kohya", "XLabs"])
def test_as_diffusers_loads_it(words: str, tmp_path: Path) -> None:
    """The result equals `load_lora_weights` and `fuse_lora`, except `linear1`, cut at 3072 there."""
    lora = kohya(SHAPES)
    if words == "XLabs":
        lora = {}
        names = ("qkv_lora1", "qkv_lora2", "proj_lora1", "proj_lora2", "proj_lora")
        for name, (layer, shape) in zip(names, SHAPES.items(), strict=True):
            spelled = ".".join([*layer.split(".")[:2], "processor", name])
            lora[f"{spelled}.up.weight"], lora[f"{spelled}.down.weight"] = pair(*shape, seed=1)
    file = save(lora, tmp_path / "lora.safetensors")
    pipeline = flux_pipeline()
    base = {f"transformer.{n}": t.clone() for n, t in pipeline.transformer.state_dict().items()}
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    merged = {n: t.double() for n, t in pipeline.transformer.state_dict().items()}
    with registry_of(tmp_path, base) as registry:
        check(added(registry, lora, tmp_path), base, merged, "transformer.")


def test_as_diffusers_converts_it(tmp_path: Path) -> None:
    """Layers outside the blocks: `load_lora_weights` makes their names, but does not find them."""
    lora = kohya(SHAPES | OUTSIDE)
    base = {n: t.clone() for n, t in small_transformer("flux").state_dict().items()}
    merged = {n: t.double() for n, t in base.items()}
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(lora))
    for name, up in theirs.items():
        if ".lora_B." in name:
            down = theirs[name.replace(".lora_B.", ".lora_A.")]
            weight = name.replace(".lora_B.", ".").removeprefix("transformer.")
            merged[weight] += up.double() @ down.double()
    with registry_of(tmp_path, base) as registry:
        check(added(registry, lora, tmp_path), base, merged)


def placed(lora: State, base: dict[str, tuple[int, ...]], path: Path) -> Merge:
    infos = {name: TensorInfo(name, "F32", shape) for name, shape in base.items()}
    with open_checkpoint(save(lora, path / "lora.safetensors")) as checkpoint:
        adapter = read_adapter(checkpoint, Configuration())
        return place_changes(adapter, infos, path, "base", {})


def test_linear1_of_the_published_width(tmp_path: Path) -> None:
    """Each tensor gets the same rows of up as in diffusers."""
    parts = {"attn.to_q": 3072, "attn.to_k": 3072, "attn.to_v": 3072, "proj_mlp": 12288}
    block = "transformer.single_transformer_blocks.5"
    up = torch.randn(21504, 1, generator=torch.Generator().manual_seed(1))
    lora = {
        "lora_unet_single_blocks_5_linear1.lora_up.weight": up,
        "lora_unet_single_blocks_5_linear1.lora_down.weight": torch.ones(1, 3072),
        "lora_unet_single_blocks_5_linear1.alpha": torch.tensor(1.0),
    }
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(lora))
    merge = placed(lora, {f"{block}.{n}.weight": (r, 3072) for n, r in parts.items()}, tmp_path)
    assert merge.changes.keys() == {f"{block}.{name}.weight" for name in parts}
    for name in parts:
        (change,) = merge.changes[f"{block}.{name}.weight"]
        (piece,) = change.rows
        assert piece.base.view.kind == "reshape"
        rows = up[piece.rows.first : piece.rows.first + piece.rows.rows]
        assert torch.equal(rows, theirs[f"{block}.{name}.lora_B.weight"])


def test_a_fused_layer_that_the_base_has_in_part(tmp_path: Path) -> None:
    """The layer is not merged into the parts that the base has."""
    original = random_base(ORIGINAL["flux"](WIDTH), "")
    base = in_diffusers_layout("flux", original)
    base["single_transformer_blocks.0.attn.to_k.weight"] = base[
        "single_transformer_blocks.0.attn.to_k.weight"
    ].to(torch.float8_e4m3fn)
    del base["transformer_blocks.0.attn.to_v.weight"]
    sums = Sums(original)
    for layer in ("double_blocks.0.img_attn.qkv", "single_blocks.0.linear1", "img_in"):
        sums.add(layer, f"lora_unet_{layer.replace('.', '_')}")
    file = save(sums.lora, tmp_path / "lora.safetensors")
    with registry_of(tmp_path, base) as registry:
        with pytest.raises(CheckpointError, match="3 times the base has no such layer") as caught:
            registry.add(file, base="sd15")
        assert "3 times the base's layer is of F8_E4M3" in str(caught.value)
        registry.add(file, base="sd15", name="lora", skip_unsupported=True)
        result = weights(registry, "lora")
    assert {n for n, t in result.items() if not torch.equal(t.float(), base[n].float())} == {
        "x_embedder.weight"
    }


def test_a_fused_layer_and_one_of_its_parts(tmp_path: Path) -> None:
    """Both are not merged: they would add up."""
    original = random_base(ORIGINAL["flux"](WIDTH), "")
    sums = Sums(original)
    sums.add("double_blocks.0.img_attn.qkv", "lora_unet_double_blocks_0_img_attn_qkv")
    up, down = pair(WIDTH, WIDTH, seed=0)
    again = "lora_transformer_transformer_blocks_0_attn_to_k"
    lora = {**sums.lora, f"{again}.lora_up.weight": up, f"{again}.lora_down.weight": down}
    file = save(lora, tmp_path / "lora.safetensors")
    for number, base in enumerate((original, in_diffusers_layout("flux", original))):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = "another layer of the file changes the same weights"
        with registry_of(folder, base) as registry, pytest.raises(CheckpointError, match=said):
            registry.add(file, base="sd15")


def test_a_flux_lora_of_its_double_blocks_alone(tmp_path: Path) -> None:
    """SD 3 has the same names in diffusers, but the LoRA is not taken for one of SD 3."""
    base = random_base(ORIGINAL["flux"](WIDTH), "")
    sums = Sums(in_diffusers_layout("flux", base))
    sums.add(
        "transformer_blocks.0.attn.add_q_proj", "transformer.transformer_blocks.0.attn.add_q_proj"
    )
    with registry_of(tmp_path, base) as registry:
        result = added(registry, sums.lora, tmp_path)
    check(in_diffusers_layout("flux", result), in_diffusers_layout("flux", base), sums.merged)


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_the_base_is_found_for_it(layout: str, tmp_path: Path) -> None:
    """Without `--base`, among a base in the other layout and one of SD 3."""
    flux, sd3 = (random_base(ORIGINAL[family](WIDTH), "") for family in ("flux", "sd3"))
    converted = in_diffusers_layout("flux", flux)
    base, state = (converted, flux) if layout == "diffusers" else (flux, converted)
    sums = Sums(state)
    for layer in layers(state)[-12:]:
        start = "diffusion_model" if layout == "diffusers" else "transformer"
        sums.add(layer, f"{start}.{layer}")
    with registry_of(tmp_path, sd3) as registry:
        registry.add_base("flux", save(base, tmp_path / "flux.safetensors"))
        made = registry.add(save(sums.lora, tmp_path / "lora.safetensors"))
        assert registry.version(made.ref).base_name == "flux"
