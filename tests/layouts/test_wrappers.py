"""Names of wrapped models: their counterparts are found wherever the wrappers' words are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.errors import BaseMismatch
from dsvd_registry.layouts import map_names, wrappers_in
from dsvd_registry.layouts.wrappers import unwrappings

from . import reading

PLAIN = (
    "blocks.0.ff.net.0.proj.weight",
    "blocks.0.attn.to_q.weight",
    "blocks.1.model.weight",
    "conv_in.weight",
    "conv_in.bias",
)

WRAPPED: dict[str, Callable[[str], str]] = {
    "compiled": lambda name: f"_orig_mod.{name}",
    "a block compiled": lambda name: name.replace("blocks.0.", "blocks.0._orig_mod."),
    "leaf compiled": lambda name: ".".join(
        [*name.split(".")[:-1], "_orig_mod", name.split(".")[-1]]
    ),
    "DDP": lambda name: f"module.{name}",
    "DDP inside": lambda name: name.replace("blocks.", "blocks.module."),
    "FSDP": lambda name: f"_fsdp_wrapped_module.{name}".replace(
        "blocks.0.", "blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module."
    ),
    "a trainer": lambda name: f"net.{name}",
    "a trainer twice": lambda name: f"model.model.{name}",
    "DDP of DDP": lambda name: f"module.module.{name}",
    "compiled twice": lambda name: f"_orig_mod._orig_mod.{name}",
    "a block compiled twice": lambda name: name.replace(
        "blocks.0.", "blocks.0._orig_mod._orig_mod."
    ),
    "all at once": lambda name: f"model.module._orig_mod.net.{name}",
    "a folder": lambda name: f"unet/_orig_mod.{name}",
}


def infos(names: list[str]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, "F32", (3, number + 2)) for number, name in enumerate(names)}


def plain(name: str, kind: str) -> str:
    return f"unet/{name}" if kind == "a folder" else name


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_fine_tune_and_a_wrapped_base(kind: str) -> None:
    own = infos([WRAPPED[kind](name) for name in PLAIN])
    base = infos([plain(name, kind) for name in PLAIN])
    wanted = dict(zip(own, base, strict=True))
    for mapping, pairs in (
        (map_names(base, own), wanted),
        (map_names(own, base), {one: other for other, one in wanted.items()}),
        (map_names(own, own), {one: one for one in own}),
    ):
        assert {one.tensor: one.base.tensors for one in mapping.correspondences} == {
            name: (of,) for name, of in pairs.items()
        }
        assert mapping.unmatched == ()


def test_two_wrapped_differently() -> None:
    own, base = (infos([WRAPPED[kind](n) for n in PLAIN]) for kind in ("a trainer", "FSDP"))
    assert {one.base.tensors[0] for one in map_names(base, own).correspondences} == set(base)


@pytest.mark.parametrize("kind", WRAPPED)
def test_the_words_are_told(kind: str) -> None:
    words = {"compiled": ("_orig_mod",), "a trainer": ("net",), "DDP": ("module",)}
    found = [wrappers_in(WRAPPED[kind](name), plain(name, kind)) for name in PLAIN]
    assert any(found)
    assert kind not in words or set(found) == {words[kind]}
    assert all(wrappers_in(name, name) == () for name in PLAIN)


def test_real_words_are_left_alone() -> None:
    """`net`, `model` and `module` are also names of real layers."""
    assert wrappers_in("model.diffusion_model.input_blocks.0.weight", "unet/conv_in.weight") == ()
    assert wrappers_in("cond_stage_model.model.x", "text_encoder/x") == ()
    names = ["cond_stage_model.model.a", "cond_stage_model.a", "x.net.0.proj"]
    assert {
        one.tensor: one.base.tensors
        for one in map_names(infos(names), infos(names)).correspondences
    } == {name: (name,) for name in names}


def test_a_wrapper_that_would_make_two_names_one() -> None:
    """A model and its copy are two models: neither is the other with a wrapper."""
    both = ["net.a.weight", "a.weight"]
    assert all(len(set(ways.values())) == 2 for ways in unwrappings(both))
    own = {name: TensorInfo(name, "F32", (3, 2)) for name in both}
    found = map_names(infos(["a.weight"]), own)
    assert [one.tensor for one in found.correspondences] == ["a.weight"]


def test_a_few_that_are_new_change_nothing() -> None:
    own, base = infos([*PLAIN, "module.new"]), infos(list(PLAIN))
    mapping = map_names(base, own)
    assert [one.tensor for one in mapping.correspondences] == list(PLAIN)
    assert [(one.tensor, one.reason) for one in mapping.unmatched] == [("module.new", "new")]


def of_unet(name: str) -> str:
    """Rename as a trainer does that saves a compiled U-Net, and a VAE behind DDP, in one file."""
    name = name.replace("model.diffusion_model.", "model.diffusion_model._orig_mod.")
    return name.replace("first_stage_model.", "first_stage_model.module.")


def test_a_real_model_in_another_layout(model_of) -> None:
    """Seen to fail: all but the text encoder had other names, and was stored raw."""
    model = model_of("sd1")
    own = reading.infos({of_unet(name): tensor for name, tensor in model.original.items()})
    base, straight = reading.infos(model.diffusers), reading.infos(model.original)
    wanted = {of_unet(c.tensor): c.base for c in map_names(base, straight).correspondences}
    found = {c.tensor: c.base for c in map_names(base, own).correspondences}
    assert len(found) > 100 and found == wanted


def test_another_family_behind_a_wrapper_is_named(model_of) -> None:
    own = {f"_orig_mod.{name}": t for name, t in model_of("sd2").original.items()}
    with pytest.raises(BaseMismatch, match=r"Stable Diffusion 2\.x"):
        map_names(reading.infos(model_of("sd1").original), reading.infos(own))
