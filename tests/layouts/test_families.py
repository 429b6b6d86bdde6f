import subprocess
import sys

import pytest

from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.errors import BaseMismatch
from dsvd_registry.layouts import check_same_family, describe, map_names

from .pipelines import PIPELINES
from .reading import infos

WORDS = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
    "sdxl-refiner": "Stable Diffusion XL refiner",
}


def tensors(*names, shape=(4, 4)):
    return {name: TensorInfo(name, "F32", shape) for name in names}


def part_of(state, prefix):
    return infos({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})


def test_whole_checkpoints(model):
    original, folder = describe(infos(model.original)), describe(infos(model.diffusers))
    assert (original.family, original.layout) == (model.family, "ldm")
    assert (folder.family, folder.layout) == (model.family, "diffusers")
    assert str(original) == f"{WORDS[model.family]}, original layout"
    assert str(folder) == f"{WORDS[model.family]}, diffusers layout"
    assert {"unet", "vae"} < set(folder.models)


def test_a_unet_of_its_own(model):
    original = describe(part_of(model.original, "model.diffusion_model."))
    folder = describe(part_of(model.diffusers, "unet."))
    assert str(original) == f"{WORDS[model.family]} U-Net, original layout"
    assert str(folder) == f"{WORDS[model.family]} U-Net, diffusers layout"


def test_parts_that_families_share(model_of):
    model = model_of("sdxl")
    assert str(describe(part_of(model.original, "first_stage_model."))) == "VAE, original layout"
    assert str(describe(part_of(model.diffusers, "vae."))) == "VAE, diffusers layout"
    text = describe(part_of(model.diffusers, "text_encoder_2."))
    assert str(text) == "second text encoder, diffusers layout"
    assert text.family == "unknown"


TRANSFORMERS = {
    "sd3": [
        ("ldm", ["joint_blocks.0.context_block.adaLN_modulation.1.bias", "pos_embed"]),
        (
            "diffusers",
            ["transformer_blocks.0.norm1_context.linear.weight", "pos_embed.proj.weight"],
        ),
    ],
    "flux": [
        ("ldm", ["double_blocks.0.img_attn.norm.key_norm.scale", "img_in.weight"]),
        (
            "diffusers",
            [
                "transformer_blocks.0.norm1_context.linear.weight",
                "single_transformer_blocks.0.norm.linear.weight",
                "x_embedder.weight",
            ],
        ),
    ],
}


@pytest.mark.parametrize(
    ("family", "layout", "names"),
    [(family, *case) for family, cases in TRANSFORMERS.items() for case in cases],
)
def test_transformers(family, layout, names):
    prefix = "model.diffusion_model." if layout == "ldm" else "transformer."
    found = describe(tensors(*(prefix + name for name in names)))
    assert (found.family, found.layout, found.models) == (family, layout, ("transformer",))


STRANGERS = [
    # FLUX.2, Chroma, HunyuanVideo: FLUX's names, other models.
    ["double_blocks.0.img_attn.norm.key_norm.scale", "single_stream_modulation.lin.weight"],
    ["double_blocks.0.img_attn.norm.key_norm.scale", "distilled_guidance_layer.in_proj.bias"],
    ["double_blocks.0.img_attn.norm.key_norm.scale", "txt_in.individual_token_refiner.x"],
    # Stable Video Diffusion, an upscaler, Kolors: built like SD 2 and SDXL.
    ["input_blocks.1.1.proj_in.weight", "input_blocks.1.1.time_stack.0.x"],
    ["input_blocks.1.1.proj_in.weight", "label_emb.weight"],
    ["down_blocks.0.attentions.0.proj_in.weight", "encoder_hid_proj.weight"],
    ["blocks.0.cross_attn.q_linear.weight"],
]


@pytest.mark.parametrize("names", STRANGERS)
def test_strangers(names):
    found = describe(tensors(*(f"model.diffusion_model.{name}" for name in names)))
    assert found.family == "unknown"


@pytest.mark.parametrize("embedding", ["add_embedding.linear_1", "class_embedding.linear_1"])
def test_unclip_of_sd_2_is_no_sdxl(model_of, embedding):
    unet = part_of(model_of("sd2").diffusers, "unet.")
    unet |= tensors(f"{embedding}.weight")
    assert describe(unet).family == ("sd2" if "class" in embedding else "sdxl-refiner")
    unet = part_of(model_of("sd2").original, "model.diffusion_model.")
    assert describe(unet | tensors("label_emb.0.0.weight")).family == "sd2"


def test_a_stranger_corresponds_by_name():
    stranger = tensors("blocks.0.attn.weight", "head.weight")
    assert str(describe(stranger)) == "unknown family, unknown layout"
    names = map_names(stranger, stranger | tensors("tail.weight"))
    assert [found.base.tensors for found in names.correspondences] == [(name,) for name in stranger]
    assert [(found.tensor, found.reason) for found in names.unmatched] == [("tail.weight", "new")]


@pytest.mark.parametrize("other", PIPELINES)
def test_another_family_is_refused_by_both_names(model, model_of, other):
    base, fine_tune = infos(model.original), infos(model_of(other).diffusers)
    if other == model.family:
        check_same_family(base, fine_tune)
        return
    with pytest.raises(BaseMismatch) as caught:
        map_names(base, fine_tune)
    assert f"{WORDS[model.family]}, original layout" in str(caught.value)
    assert f"{WORDS[other]}, diffusers layout" in str(caught.value)
    assert WORDS[other] in caught.value.hint


def test_what_is_of_no_family_fits_every_base(model, model_of):
    check_same_family(infos(model.original), part_of(model_of("sd1").diffusers, "vae."))


def test_families_and_one_layout_need_neither_torch_nor_diffusers():
    code = """
import sys
from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.layouts import describe, map_names
names = ["conv_in.weight", "time_embedding.linear_1.weight", "conv_out.weight"]
unet = {name: TensorInfo(name, "F32", (4, 4)) for name in names}
describe(unet)
assert map_names(unet, unet).unmatched == ()
assert not {"torch", "diffusers", "transformers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
