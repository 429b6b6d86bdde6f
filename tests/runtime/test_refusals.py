"""Versions that do not fit a pipeline are refused, with a reason, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from layouts.pipelines import models
from registry.conftest import flip, flip_tensor, header_of, object_path
from safetensors.torch import save_file

from dsvd_registry import DsvdError, Registry
from dsvd_registry.errors import (
    BaseMismatch,
    Conflict,
    ContainerError,
    InvalidArgument,
    NotFound,
    TauNotServed,
)
from dsvd_registry.runtime import SubjectSwitcher

from .conftest import FP16, FP32
from .studio import Studio, changed, weights_of
from .test_switching import writes


def add(studio: Studio, name: str, base: str, state: dict[str, torch.Tensor], folder: Path) -> None:
    save_file(state, folder / f"{name}.safetensors")
    studio.registry.add(folder / f"{name}.safetensors", base=base, name=name, tau=0.9)


def state_of(studio: Studio) -> dict[str, torch.Tensor]:
    return weights_of(studio.pipeline())


def refused(pipeline, registry: Registry, ref: str, error: type[DsvdError], *words: str) -> None:
    """Check that the switch raises this error with these words, and writes no tensor."""
    switcher = SubjectSwitcher(pipeline, registry)
    before = writes(pipeline)
    with pytest.raises(error) as caught, switcher.subject(ref):
        pytest.fail("it was let in")
    assert type(caught.value) is error
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.hint
    assert writes(pipeline) == before
    assert switcher.current is None


def test_an_unknown_ref(sd1: Studio) -> None:
    refused(sd1.pipeline(), sd1.registry, "nobody", NotFound, "nobody")


def test_one_inside_another(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    base = weights_of(pipeline)
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    with switcher.subject("one"):
        inside = weights_of(pipeline)
        with pytest.raises(Conflict, match="one@1"), switcher.subject("other"):
            pytest.fail("it was let in")
        assert switcher.current == "one@1"
        assert changed(inside, weights_of(pipeline)) == set()
    assert changed(base, weights_of(pipeline)) == set()


def test_a_tau_that_is_not_stored(sd1: Studio) -> None:
    switcher = SubjectSwitcher(sd1.pipeline(), sd1.registry)
    with pytest.raises(TauNotServed), switcher.subject("one", tau=1.0):
        pytest.fail("it was let in")


def test_what_is_no_pipeline(sd1: Studio) -> None:
    for thing in (torch.nn.Linear(1, 1), None):
        with pytest.raises(InvalidArgument, match="not a pipeline"):
            SubjectSwitcher(thing, sd1.registry)


@pytest.mark.parametrize("name", ["unet.conv_in.weight", "vae.encoder.conv_in.bias"])
def test_weights_that_are_not_the_bases(sd1: Studio, name: str) -> None:
    """Another tensor is refused too, although the subject does not change it."""
    pipeline = sd1.pipeline()
    part, _, local = name.partition(".")
    weight = models(pipeline)[part].state_dict()[local]
    weight.view(torch.int32).flatten()[0] ^= 1
    refused(pipeline, sd1.registry, "one", BaseMismatch, name, "'base'")
    weight.view(torch.int32).flatten()[0] ^= 1
    with SubjectSwitcher(pipeline, sd1.registry).subject("one"):
        pass


def test_another_dtype_that_was_rounded_on_the_way(sd1: Studio) -> None:
    pipeline = sd1.pipeline(FP16).to(FP32)
    refused(pipeline, sd1.registry, "one", BaseMismatch, "'base'")


def test_a_pipeline_of_another_family(sd1: Studio, studio_of) -> None:
    pipeline = studio_of("sdxl").pipeline()
    refused(pipeline, sd1.registry, "one", BaseMismatch, "XL", "1.x", "'base'")


def test_a_subject_of_another_base(own: Studio, tmp_path: Path) -> None:
    state = state_of(own)
    moved = {name: tensor + 1 for name, tensor in state.items()}
    save_file(moved, tmp_path / "second.safetensors")
    own.registry.add_base("second", tmp_path / "second.safetensors")
    add(own, "theirs", "second", {n: t * 1.001 for n, t in moved.items()}, tmp_path)
    pipeline = own.pipeline()
    refused(pipeline, own.registry, "theirs", BaseMismatch, "'second'")
    switcher = SubjectSwitcher(pipeline, own.registry)
    with switcher.subject("one"):
        inside = weights_of(pipeline)
        with pytest.raises(BaseMismatch, match="'second'"):
            switcher.switch("theirs")
        assert switcher.current == "one@1"
        assert changed(inside, weights_of(pipeline)) == set()
    assert changed(state, weights_of(pipeline)) == set()


def test_a_subject_of_a_base_with_the_same_weights(own: Studio, tmp_path: Path) -> None:
    state = state_of(own)
    save_file(state, tmp_path / "renamed.safetensors")
    own.registry.add_base("renamed", tmp_path / "renamed.safetensors")
    state["unet.conv_in.weight"] = state["unet.conv_in.weight"] * 1.01
    add(own, "theirs", "renamed", state, tmp_path)
    pipeline = own.pipeline()
    base = weights_of(pipeline)
    with SubjectSwitcher(pipeline, own.registry).subject("theirs"):
        assert changed(base, weights_of(pipeline)) == {"unet.conv_in.weight"}
    assert changed(base, weights_of(pipeline)) == set()


def test_tokens_that_were_added(own: Studio, tmp_path: Path) -> None:
    state = state_of(own)
    name = next(name for name in state if name.endswith("token_embedding.weight"))
    state[name] = torch.cat([state[name], torch.ones(2, state[name].shape[1])])
    add(own, "tokens", "base", state, tmp_path)
    refused(own.pipeline(), own.registry, "tokens", InvalidArgument, "adds 2 rows", name)


def test_a_pipeline_without_the_text_encoder(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    pipeline.register_modules(text_encoder=None)
    refused(pipeline, sd1.registry, "one", InvalidArgument, "text_encoder.")


def test_weights_on_top(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    pipeline.unet.fuse_qkv_projections()
    refused(pipeline, sd1.registry, "one", BaseMismatch, "to_qkv")


def test_a_lora_in_the_pipeline(sd1: Studio) -> None:
    from peft import LoraConfig

    pipeline = sd1.pipeline()
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"]))
    refused(pipeline, sd1.registry, "one", InvalidArgument, "attn1.to_q.weight")


def test_what_the_base_cannot_give_back(own: Studio, tmp_path: Path) -> None:
    state = state_of(own)
    unet = {name: tensor for name, tensor in state.items() if name.startswith("unet.")}
    save_file(unet, tmp_path / "unet.safetensors")
    own.registry.add_base("unet", tmp_path / "unet.safetensors")
    add(own, "whole", "unet", state, tmp_path)
    refused(own.pipeline(), own.registry, "whole", InvalidArgument, "not be restored", "'unet'")


def test_weights_that_are_elsewhere(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    pipeline.unet.to("meta")
    refused(pipeline, sd1.registry, "one", InvalidArgument, "unet.", "offloaded")


def test_numbers_that_no_pipeline_reads_are_passed_over(own: Studio, tmp_path: Path) -> None:
    """They are averages and the sampler's numbers of an original file, and a CLIP's positions."""
    state = state_of(own)
    state["unet.conv_in.weight"] = state["unet.conv_in.weight"] * 1.01
    state["model_ema.decay"] = torch.tensor(0.9)
    state["alphas_cumprod"] = torch.rand(10)
    state["text_encoder.text_model.embeddings.position_ids"] = torch.arange(11)[None]
    add(own, "more", "base", state, tmp_path)
    pipeline = own.pipeline()
    base = weights_of(pipeline)
    with SubjectSwitcher(pipeline, own.registry).subject("more"):
        assert changed(base, weights_of(pipeline)) == {"unet.conv_in.weight"}


def test_a_damaged_container(own: Studio) -> None:
    """The damaged last frame is read after much was written: the base is restored."""
    flip(object_path(own.registry.folder, own.registry.version("one").container))
    pipeline = own.pipeline()
    base = weights_of(pipeline)
    switcher = SubjectSwitcher(pipeline, own.registry)
    with switcher.subject("other"):
        before = writes(pipeline)
        with pytest.raises(ContainerError):
            switcher.switch("one")
        assert writes(pipeline) != before
        assert switcher.current is None
        assert changed(base, weights_of(pipeline)) == set()


def test_a_base_that_is_damaged_meanwhile(own: Studio) -> None:
    file = object_path(own.registry.folder, own.registry.base("base").file)
    whole = file.read_bytes()
    pipeline = own.pipeline()
    base = weights_of(pipeline)
    switcher = SubjectSwitcher(pipeline, own.registry)
    # Over the same file, which is mapped: one that takes its place would not be seen.
    file.chmod(0o644)
    name = next(name for name in header_of(file) if name.endswith("input_blocks.0.0.weight"))
    with pytest.raises(BaseMismatch, match="damaged"), switcher.subject("one"):
        flip_tensor(file, name)
    assert switcher.current is None
    assert changed(base, weights_of(pipeline))
    file.write_bytes(whole)
    switcher.restore()
    assert changed(base, weights_of(pipeline)) == set()
