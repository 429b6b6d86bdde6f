"""Diffusion transformers in both layouts, held against diffusers' own conversions."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders import single_file_utils
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from dsvd_registry.errors import BaseMismatch, InvalidArgument
from dsvd_registry.layouts import View, describe, map_names
from dsvd_registry.layouts.original_layout import original_tensors
from dsvd_registry.layouts.transformer_conversion import transformer_in_diffusers_names

from .original import State, prefixed
from .reading import infos, mapped, viewed
from .transformers import KINDS, WIDTH, original_flux, state_of

FAMILIES = {
    "flux": "FLUX",
    "sd3": "Stable Diffusion 3",
    "wan": "Wan",
    "z-image": "Z-Image",
    "qwen-image": "Qwen-Image",
}


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def diffusers(kind: str) -> State:
    return state_of(kind)


@pytest.fixture
def original(kind: str, diffusers: State) -> State:
    return KINDS[kind].original(diffusers)


def assert_equal(made: State, state: State) -> None:
    assert made.keys() == state.keys()
    for name, tensor in made.items():
        assert tensor.shape == state[name].shape, name
        assert torch.equal(tensor, state[name]), name


def made_of(state: State, names) -> State:
    """The tensors that the correspondences of a map give, made of `state`."""
    return {
        one.tensor: viewed([state[name] for name in one.base.tensors], one.base.view)
        for one in names.correspondences
    }


def test_diffusers_reads_the_original_layouts_of_these_tests(kind, diffusers, original):
    assert_equal(KINDS[kind].convert(dict(original)), diffusers)
    whole = prefixed("model.diffusion_model.", original)
    if kind != "qwen-image":  # diffusers leaves this prefix there
        assert_equal(KINDS[kind].convert(whole), diffusers)


def test_the_conversions_are_those_that_diffusers_uses(kind):
    name = type(KINDS[kind].make()).__name__
    used = SINGLE_FILE_LOADABLE_CLASSES[name]["checkpoint_mapping_fn"]
    if kind == "qwen-image":
        state = {"a": torch.ones(2)}
        assert used(state) is state
    elif KINDS[kind].family == "flux":
        assert used is single_file_utils.convert_flux_transformer_checkpoint_to_diffusers
    else:
        assert used is KINDS[kind].convert


@pytest.mark.parametrize("front", ["", "model.diffusion_model."])
@pytest.mark.parametrize("folder", ["", "transformer.", "transformer/"])
def test_both_directions(diffusers, original, front, folder):
    """Names and bits, with the prefixes that files and folders have."""
    ours, theirs = prefixed(front, original), prefixed(folder, diffusers)
    for base, fine_tune in ((ours, theirs), (theirs, ours)):
        names = mapped(base, fine_tune)
        assert names.unmatched == ()
        assert_equal(made_of(base, names), fine_tune)
        # Every tensor of the base is used.
        used = {name for one in names.correspondences for name in one.base.tensors}
        assert used == base.keys()


def test_the_original_file_of_a_folder(kind, diffusers, original):
    """Names and shapes; the numbers come through the map, and diffusers reads them back."""
    alone = original_tensors(infos(diffusers))
    assert {name: info.shape for name, info in alone.items()} == {
        name: tuple(tensor.shape) for name, tensor in original.items()
    }
    folder = prefixed("transformer/", diffusers)
    assert original_tensors(infos(folder)).keys() == alone.keys()
    names = map_names(infos(folder), alone)
    assert names.unmatched == ()
    made = made_of(folder, names)
    assert_equal(made, original)
    assert_equal(KINDS[kind].convert(made), diffusers)


def test_described(kind, diffusers, original):
    family = FAMILIES[KINDS[kind].family]
    assert str(describe(infos(diffusers))) == f"{family} transformer, diffusers layout"
    ours = describe(infos(prefixed("model.diffusion_model.", original)))
    assert str(ours) == f"{family} transformer, original layout"
    bare = describe(infos(original))
    assert bare.family == KINDS[kind].family
    assert bare.layout == ("diffusers" if kind == "qwen-image" else "ldm")


@pytest.mark.parametrize("other", ["flux-dev", "sd3.5-medium", "wan", "z-image", "qwen-image"])
def test_another_family_is_refused(kind, original, other):
    base = infos(state_of(other))
    if KINDS[other].family == KINDS[kind].family:
        return
    with pytest.raises(BaseMismatch) as caught:
        map_names(base, infos(original))
    for one in (kind, other):
        assert f"{FAMILIES[KINDS[one].family]} transformer" in str(caught.value)


def kinds(names) -> Counter[str]:
    return Counter(one.base.view.kind for one in names.correspondences)


def test_views_of_flux():
    """Two double blocks and three single ones, each parameter a weight and a bias."""
    diffusers = state_of("flux-dev")
    original = original_flux(diffusers)
    there, back = mapped(original, diffusers), mapped(diffusers, original)
    slices = 2 * (2 * 2 * 3 + 3 * 4)
    assert kinds(there) == {
        "slice": slices, "roll": 2, "reshape": len(diffusers) - slices - 2,
    }  # fmt: skip
    joined = 2 * (2 * 2 + 3)
    assert kinds(back) == {
        "concatenate": joined, "roll": 2, "reshape": len(original) - joined - 2,
    }  # fmt: skip
    found = {one.tensor: one.base for one in there.correspondences}
    of = "single_transformer_blocks.2.proj_mlp.bias"
    assert found[of].tensors == ("single_blocks.2.linear1.bias",)
    assert found[of].view == View("slice", 3 * WIDTH, 4 * WIDTH)


def test_views_of_the_last_block_of_sd3():
    """Its text makes one shift and one scale, whose order differs; that of the others does not."""
    diffusers = state_of("sd3.5-medium")
    names = mapped(KINDS["sd3.5-medium"].original(diffusers), diffusers)
    rolled = {one.tensor for one in names.correspondences if one.base.view.kind == "roll"}
    assert rolled == {
        f"{layer}.{parameter}"
        for layer in ("norm_out.linear", "transformer_blocks.2.norm1_context.linear")
        for parameter in ("weight", "bias")
    }


def test_flux_of_the_published_size():
    """All rows have numbers of their own; diffusers' conversion, unchanged, moves them alike."""
    with torch.device("meta"):
        shapes = FluxTransformer2DModel(guidance_embeds=True).state_dict()
    numbers, start = {}, 0
    for name, tensor in shapes.items():
        numbers[name] = torch.arange(start, start + tensor.shape[0])
        start += tensor.shape[0]
    original = original_flux(numbers)
    widths = {name: tuple(tensor.shape[1:]) for name, tensor in original_flux(shapes).items()}
    known = {name: (len(tensor), *widths[name]) for name, tensor in original.items()}
    convert = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers
    made = {
        name: viewed([original[source.tensors[0]]], source.view)
        for name, source in transformer_in_diffusers_names(known).items()
    }
    assert_equal(made, convert(dict(original)))
    assert_equal(made, numbers)


def test_what_the_original_has_besides():
    """Z-Image's original files have a norm that nothing uses, and diffusers leaves out."""
    diffusers = state_of("z-image")
    original = KINDS["z-image"].original(diffusers) | {"norm_final.weight": torch.ones(WIDTH)}
    assert_equal(KINDS["z-image"].convert(dict(original)), diffusers)
    names = mapped(diffusers, original)
    assert [(one.tensor, one.reason) for one in names.unmatched] == [("norm_final.weight", "new")]
    assert mapped(original, diffusers).unmatched == ()


def unmatched_with(original: State, changes: dict[str, tuple[int, ...]]) -> set[str]:
    """The names of diffusers that a file has nothing for, if it has tensors of these shapes."""
    diffusers = state_of("flux-dev")
    changed = original | {name: torch.zeros(shape) for name, shape in changes.items()}
    return {one.tensor for one in map_names(infos(changed), infos(diffusers)).unmatched}


def test_sizes_that_contradict_each_other_are_not_guessed_at():
    original = original_flux(state_of("flux-dev"))
    assert unmatched_with(original, {}) == set()
    # A gated MLP has two halves: FLUX.2's layer of this name is divided otherwise.
    single = {f"single_blocks.0.linear1.{one}" for one in ("weight", "bias")}
    gated = {"single_blocks.0.linear1.weight": (11 * WIDTH, WIDTH)}
    lost = unmatched_with(original, gated | {"single_blocks.0.linear1.bias": (11 * WIDTH,)})
    parts = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    assert {name for part in parts for name in (
        f"single_transformer_blocks.0.{part}.weight", f"single_transformer_blocks.0.{part}.bias"
    )} == lost  # fmt: skip
    # Keys and values of fewer heads than queries.
    grouped = {
        "double_blocks.1.img_attn.qkv.weight": (2 * WIDTH, WIDTH),
        "double_blocks.1.img_attn.qkv.bias": (2 * WIDTH,),
    }
    assert unmatched_with(original, grouped) == {
        f"transformer_blocks.1.attn.to_{one}.{parameter}"
        for one in "qkv"
        for parameter in ("weight", "bias")
    }
    # A bias of another length than its weight, and halves that are no halves.
    assert unmatched_with(original, {"double_blocks.1.img_attn.qkv.bias": (3 * WIDTH + 3,)}) == {
        f"transformer_blocks.1.attn.to_{one}.bias" for one in "qkv"
    }
    assert unmatched_with(
        original, {"final_layer.adaLN_modulation.1.weight": (3 * WIDTH, WIDTH)}
    ) == {"norm_out.linear.weight", "norm_out.linear.bias"}
    assert single <= original.keys()


def test_projections_of_other_shapes_than_the_fused_one_are_not_joined():
    diffusers = state_of("flux-dev")
    original = original_flux(diffusers)
    name = "transformer_blocks.0.attn.to_k.weight"
    for other in (diffusers[name][:-1], diffusers[name].half()):
        names = map_names(infos(diffusers | {name: other}), infos(original))
        assert [one.tensor for one in names.unmatched] == ["double_blocks.0.img_attn.qkv.weight"]


def test_a_part_of_a_model_is_mapped_alike():
    diffusers = prefixed("transformer.", state_of("flux-dev"))
    original = prefixed("model.diffusion_model.", original_flux(state_of("flux-dev")))
    some = {name: t for name, t in original.items() if "double_blocks.1." in name}
    names = mapped(diffusers, some)
    assert names.unmatched == ()
    assert len(names.correspondences) == len(some) > 0


STRANGERS = {
    "flux-dev": ("distilled_guidance_layer.in_proj.bias", "single_stream_modulation.lin.weight"),
    "wan": ("face_adapter.fuser_blocks.0.linear2.weight", "motion_encoder.enc.fc.0.weight"),
    "qwen-image": ("controlnet_blocks.0.weight",),
}


@pytest.mark.parametrize(
    ("kind", "stranger"), [(k, s) for k, all_ in STRANGERS.items() for s in all_]
)
def test_a_stranger_with_names_of_a_family(kind, stranger):
    """It is compared with names alone, and not written in another layout."""
    more = {stranger: torch.zeros(4)}
    original = KINDS[kind].original(state_of(kind)) | more
    assert describe(infos(original)).family == "unknown"
    assert mapped(original, original).unmatched == ()
    if kind != "qwen-image":
        assert len(map_names(infos(state_of(kind)), infos(original)).unmatched) > len(more)
    with pytest.raises(InvalidArgument, match="not written as a single file"):
        original_tensors(infos(state_of(kind) | more))


def test_a_weight_without_a_name_is_an_error():
    for kind in ("flux-dev", "wan", "z-image"):
        state = state_of(kind) | {"extra.weight": torch.zeros(4)}
        with pytest.raises(InvalidArgument, match=r"'extra\.weight' has no name"):
            original_tensors(infos(state))
    state = state_of("sd3.5-large")
    del state["transformer_blocks.1.attn.add_k_proj.bias"]
    with pytest.raises(
        InvalidArgument, match=r"rows of 'joint_blocks\.1\.context_block\.attn\.qkv"
    ):
        original_tensors(infos(state))


def test_two_transformers_of_one_pipeline():
    """Wan 2.2 has one for much noise and one for little; each is a file of its own."""
    first, second = state_of("wan"), state_of("wan", seed=6)
    folder = prefixed("transformer/", first) | prefixed("transformer_2/", second)
    assert describe(infos(folder)).models == ("transformer", "transformer_2")
    assert mapped(folder, folder).unmatched == ()
    alone = prefixed("transformer_2/", second)
    for names in (mapped(folder, alone), mapped(KINDS["wan"].original(second), alone)):
        assert names.unmatched == ()
    with pytest.raises(InvalidArgument, match="two transformers"):
        original_tensors(infos(folder))
