"""A base in one layout and a fine-tune in another: every view gives the exact bits."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.errors import BaseMismatch, CheckpointError
from dsvd_registry.layouts import View, ViewedTensors, map_names

from .original import averages, prefixed
from .pipelines import with_text_model
from .reading import infos, mapped


def kinds(names):
    return Counter(found.base.view.kind for found in names.correspondences)


def of(names, tensor):
    return next(found for found in names.correspondences if found.tensor == tensor)


def test_original_base_and_diffusers_fine_tune(model):
    names = mapped(model.original, model.diffusers)
    assert names.unmatched == ()
    assert len(names.correspondences) == len(model.diffusers)


def test_diffusers_base_and_original_fine_tune(model):
    names = mapped(model.diffusers, model.original)
    assert names.unmatched == ()
    assert len(names.correspondences) == len(model.original)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_one_layout_is_the_identity(model, layout):
    state = getattr(model, layout)
    names = mapped(state, state)
    assert [found.base.tensors for found in names.correspondences] == [(name,) for name in state]
    assert kinds(names) == {"reshape": len(state)}


def test_fused_projections_are_sliced_one_way_and_joined_the_other(model_of):
    model = model_of("sdxl")
    base = "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight"
    names = mapped(model.original, model.diffusers)
    layer = "text_encoder_2.text_model.encoder.layers.1.self_attn"
    for place, kind in enumerate("qkv"):
        found = of(names, f"{layer}.{kind}_proj.weight")
        assert found.base == ViewedTensors((base,), View("slice", 16 * place, 16))
    assert kinds(names) == {"slice": 2 * 6, "transpose": 1, "reshape": len(model.diffusers) - 13}
    back = mapped(model.diffusers, model.original)
    assert of(back, base).base.tensors == tuple(f"{layer}.{kind}_proj.weight" for kind in "qkv")
    assert kinds(back) == {"concatenate": 4, "transpose": 1, "reshape": len(model.original) - 5}


def test_attention_of_the_vae_as_convolution_and_as_linear_layer(model_of):
    model = model_of("sd1")
    found = of(
        mapped(model.original, model.diffusers), "vae.decoder.mid_block.attentions.0.to_q.weight"
    )
    assert found.base.tensors == ("first_stage_model.decoder.mid.attn_1.q.weight",)
    assert model.original[found.base.tensors[0]].ndim == 4
    assert model.diffusers[found.tensor].ndim == 2


@pytest.mark.parametrize("sub_model", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_a_sub_model_of_its_own_against_a_whole_base(model_of, sub_model):
    model = model_of("sdxl")
    folder = f"{sub_model}."
    own = {n.removeprefix(folder): t for n, t in model.diffusers.items() if n.startswith(folder)}
    for base in (model.original, model.diffusers):
        names = mapped(base, own)
        assert names.unmatched == ()
    whole = mapped(own, model.original)
    assert {found.base.tensors[0] for found in whole.correspondences} <= own.keys()
    assert sum(len(found.base.tensors) for found in whole.correspondences) == len(own)


@pytest.mark.parametrize(
    "prefix",
    ["model.diffusion_model.", "first_stage_model.", "conditioner.embedders.1.model."],
)
def test_an_original_sub_model_of_its_own(model_of, prefix):
    model = model_of("sdxl")
    own = {n.removeprefix(prefix): t for n, t in model.original.items() if n.startswith(prefix)}
    assert own
    for base in (model.original, model.diffusers):
        assert mapped(base, own).unmatched == ()


def test_old_and_new_names_of_one_tensor(model_of):
    model = model_of("sd1")
    text = {n: t for n, t in model.diffusers.items() if n.startswith("text_encoder.")}
    old = {name: t for name, t in model.diffusers.items() if name not in text}
    own = {name.removeprefix("text_encoder."): t for name, t in text.items()}
    old |= prefixed("text_encoder.", with_text_model(own))
    words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, word in words.items():
        for name in [n for n in old if n.startswith("vae.") and f".attentions.0.{new}." in n]:
            old[name.replace(new, word)] = old.pop(name)
    flat = {
        name.replace("transformer.text_model.", "transformer."): t
        for name, t in model.original.items()
    }
    assert old.keys() != model.diffusers.keys()
    assert flat.keys() != model.original.keys()
    for base in (old, flat, model.original, model.diffusers):
        for fine_tune in (old, flat, model.original, model.diffusers):
            assert mapped(base, fine_tune).unmatched == ()


def test_names_of_comfyui_and_of_folders_with_slashes(model_of):
    model = model_of("sdxl")
    encoders = {
        "conditioner.embedders.0.": "text_encoders.clip_l.",
        "first_stage_model.": "vae.",
    }
    comfy = model.original
    for theirs, ours in encoders.items():
        comfy = {name.replace(theirs, ours): tensor for name, tensor in comfy.items()}
    slashes = {name.replace(".", "/", 1): tensor for name, tensor in model.diffusers.items()}
    for other in (comfy, slashes):
        for state in (model.original, model.diffusers):
            assert mapped(state, other).unmatched == ()
            assert mapped(other, state).unmatched == ()


def test_sgm_names_of_sd_2(model_of):
    model = model_of("sd2")
    turbo = {
        name.replace("cond_stage_model.", "conditioner.embedders.0."): tensor
        for name, tensor in model.original.items()
    }
    for state in (model.original, model.diffusers):
        assert mapped(state, turbo).unmatched == ()
        assert mapped(turbo, state).unmatched == ()


def test_what_only_the_fine_tune_has_is_listed(model_of):
    model = model_of("sd2")
    block = "cond_stage_model.model.transformer.resblocks."
    more = {
        name.replace(block + "1.", block + "2."): tensor
        for name, tensor in model.original.items()
        if name.startswith(block + "1.")
    }
    more["cond_stage_model.model.text_projection"] = torch.randn(16, 16)
    more["cond_stage_model.model.logit_scale"] = torch.tensor(4.6)
    more["alphas_cumprod"] = torch.rand(10)
    names = mapped(model.diffusers, model.original | more)
    assert {found.tensor: found.reason for found in names.unmatched} == dict.fromkeys(more, "new")
    # Names that no rule knows are still the same names.
    assert mapped(model.original | more, more).unmatched == ()
    assert mapped(model.original | more, model.diffusers).unmatched == ()


def test_rows_more_and_another_shape(model_of):
    model = model_of("sd1")
    tokens = next(name for name in model.diffusers if name.endswith("token_embedding.weight"))
    conv = "unet.conv_in.weight"
    fine_tune = dict(model.diffusers)
    fine_tune[tokens] = torch.cat([fine_tune[tokens], torch.randn(2, 12)])
    fine_tune[conv] = torch.randn(8, 9, 3, 3)
    linear = next(name for name in model.diffusers if name.endswith("mlp.fc1.weight"))
    fine_tune[linear] = fine_tune[linear][:-1]
    names = map_names(infos(model.original), infos(fine_tune))
    assert of(names, tokens).base.view == View()
    assert {found.tensor: found.reason for found in names.unmatched} == {
        conv: "shape",
        linear: "shape",
    }


def test_projections_of_two_dtypes_are_not_joined(model_of):
    model = model_of("sd2")
    key = next(
        name for name in model.diffusers if name.endswith("layers.0.self_attn.k_proj.weight")
    )
    base = model.diffusers | {key: model.diffusers[key].half()}
    names = map_names(infos(base), infos(model.original))
    fused = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"
    assert [(found.tensor, found.reason) for found in names.unmatched] == [(fused, "new")]


def test_blocks_missing_are_not_guessed_at(model_of):
    model = model_of("sd1")
    start = "model.diffusion_model."
    for gap in (
        ["input_blocks.3."],
        ["output_blocks.4."],
        ["input_blocks.8.", "output_blocks.8."],
    ):
        starts = tuple(start + block for block in gap)
        partial = {name: t for name, t in model.original.items() if not name.startswith(starts)}
        names = mapped(model.diffusers, partial)
        unet = {name for name in partial if name.startswith(start)}
        assert {found.tensor for found in names.unmatched} == unet


def test_blocks_of_a_vae_missing_are_not_guessed_at(model_of):
    model = model_of("sd1")
    start = "first_stage_model.decoder.up.2."
    partial = {name: t for name, t in model.original.items() if not name.startswith(start)}
    names = mapped(model.diffusers, partial)
    vae = {name for name in partial if name.startswith("first_stage_model.")}
    assert {found.tensor for found in names.unmatched} == vae


def test_what_diffusers_cannot_convert_is_an_error(model_of):
    model = model_of("sd1")
    name = "model.diffusion_model.output_blocks.2.1.conv.bias"
    partial = {other: tensor for other, tensor in model.original.items() if other != name}
    with pytest.raises(CheckpointError, match=r"the names of the unet: KeyError.*conv\.bias"):
        mapped(partial, model.diffusers)


class TestAverages:
    def test_go_with_the_averages_of_the_base(self, model_of):
        model = model_of("sd1")
        full = model.original | averages(model.original)
        assert mapped(full, full).unmatched == ()

    def test_go_with_the_unet_where_the_base_has_none(self, model_of):
        model = model_of("sd1")
        ema = averages(model.original)
        fine_tune = model.original | ema
        for base in (model.original, model.diffusers):
            names = map_names(infos(base), infos(fine_tune))
            assert {found.tensor for found in names.unmatched} == {
                "model_ema.decay",
                "model_ema.num_updates",
            }
            by_name = {found.tensor: found for found in names.correspondences}
            for name in model.original:
                if name.startswith("model.diffusion_model."):
                    flat = "model_ema." + name.removeprefix("model.").replace(".", "")
                    plain, found = by_name[name], by_name[flat]
                    assert found.base == plain.base

    def test_alone_take_their_dots_from_the_base(self, model_of):
        model = model_of("sd1")
        ema = averages(model.original)
        names = map_names(infos(model.original), infos(ema))
        assert len(names.correspondences) == len(ema) - 2
        # A base in diffusers' words does not tell where the dots were.
        names = map_names(infos(model.diffusers), infos(ema))
        assert len(names.unmatched) == len(ema)

    def test_whose_dots_could_stand_in_two_places_are_listed(self):
        block = "model.diffusion_model.input_blocks."
        base = {f"{block}1.10.weight": torch.zeros(2), f"{block}11.0.weight": torch.zeros(2)}
        ema = {"model_ema.diffusion_modelinput_blocks110weight": torch.zeros(2)}
        names = map_names(infos(base), infos(base | ema))
        assert [found.tensor for found in names.unmatched] == list(ema)

    def test_in_a_folder_beside_the_unet(self, model_of):
        model = model_of("sd1")
        shifted = {
            "unet_ema." + name.removeprefix("unet."): tensor + 1
            for name, tensor in model.diffusers.items()
            if name.startswith("unet.")
        }
        assert mapped(model.original | averages(model.original), shifted).unmatched == ()


NAMES = (
    "conv_in.weight",
    "time_embedding.linear_1.weight",
    "conv_out.weight",
    "down_blocks.x.attentions.0.proj_in.weight",
    "down_blocks.99999999999999999999.resnets.0.conv1.weight",
    "encoder.mid_block.attentions.0.to_q.weight",
    "text_model.encoder.layers.0.self_attn.q_proj.weight",
    "text_projection.weight",
    "transformer_blocks.0.norm1_context.linear.weight",
    "single_transformer_blocks.0.norm.linear.weight",
    "single_transformer_blocks.0.attn.to_q.weight",
    "single_transformer_blocks.99999999999999999999.proj_mlp.weight",
    "x_embedder.weight",
    "norm_out.linear.weight",
)
ORIGINAL_NAMES = (
    "input_blocks.0.0.weight",
    "input_blocks.1.0.op.weight",
    "input_blocks.x.0.op.weight",
    "output_blocks.0.1.conv.weight",
    "output_blocks.1.0.in_layers.0.weight",
    "label_emb.0.0.weight",
    "out.2.weight",
    "encoder.down.0.block.0.conv1.weight",
    "encoder.mid.attn_1.q.weight",
    "decoder.up.0.block.0.conv1.weight",
    "transformer.resblocks.0.attn.in_proj_weight",
    "transformer.resblocks.x.attn.in_proj_bias",
    "text_projection",
    "double_blocks.0.img_attn.qkv.weight",
    "double_blocks.0.img_attn.proj.weight",
    "single_blocks.0.linear1.weight",
    "single_blocks.0.linear2.weight",
    "single_blocks.x.linear2.weight",
    "final_layer.adaLN_modulation.1.weight",
    "final_layer.adaLN_modulation.1.bias",
)
SHAPES = (
    (),
    (0,),
    (6,),
    (4, 2),
    (2, 2),
    (6, 2),
    (2, 6),
    (6, 2, 1, 1),
    (6, 2, 3, 3),
    (2, 0, 1),
    (0, 2**52, 2**52),
)
PREFIXES = ("", "unet.", "vae.", "text_encoder.", "transformer.")
ORIGINAL_PREFIXES = (
    "",
    "model.diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.model.",
    "model_ema.diffusion_model",
)


def checkpoints(prefixes, names):
    name = st.builds(str.__add__, st.sampled_from(prefixes), st.sampled_from(names))
    dtypes = st.sampled_from(["F32", "F16"])
    return st.dictionaries(name, st.tuples(dtypes, st.sampled_from(SHAPES)), max_size=12).map(
        lambda found: {name: TensorInfo(name, *rest) for name, rest in found.items()}
    )


@given(
    checkpoints(PREFIXES + ORIGINAL_PREFIXES, NAMES + ORIGINAL_NAMES),
    checkpoints(PREFIXES + ORIGINAL_PREFIXES, NAMES + ORIGINAL_NAMES),
)
@settings(deadline=None, max_examples=200)
def test_any_names_and_shapes_are_mapped_or_refused(base, fine_tune):
    try:
        names = map_names(base, fine_tune)
    except (CheckpointError, BaseMismatch):
        return
    listed = [c.tensor for c in names.correspondences] + [u.tensor for u in names.unmatched]
    assert sorted(listed) == sorted(fine_tune)
    for found in names.correspondences:
        view = found.base.view
        shapes = [base[name].shape for name in found.base.tensors]
        dtypes = {base[name].dtype for name in found.base.tensors}
        rest, own = math.prod(view.shape(shapes)[1:]), fine_tune[found.tensor]
        # The rules of the container.
        assert (view.kind == "concatenate") == (len(found.base.tensors) > 1)
        assert len(dtypes) == 1
        assert view.kind != "transpose" or len(shapes[0]) == 2
        assert view.kind != "roll" or 0 < view.first < shapes[0][0]
        assert view.kind != "slice" or view.first + view.rows <= shapes[0][0]
        longer = own.elements - math.prod(view.shape(shapes))
        assert longer == 0 or (longer > 0 and longer % rest == 0)
