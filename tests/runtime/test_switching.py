"""A subject in a live pipeline equals the materialised file loaded by diffusers, and is taken out."""

from __future__ import annotations

import threading

import pytest
import torch
from layouts.pipelines import models
from registry.conftest import flip, object_path
from torch._dynamo.testing import CompileCounterWithBackend

from dsvd_registry import DsvdError
from dsvd_registry.errors import ContainerError, NotFound
from dsvd_registry.runtime import SubjectSwitcher

from .conftest import BF16, DEVICES, FP16, FP32, STUDIOS
from .studio import Studio, changed, outputs_of, same, weights_of


def writes(pipeline) -> dict[str, int]:
    """The number of writes to each tensor, as torch counts them."""
    return {
        f"{part}.{name}": tensor._version
        for part, model in models(pipeline).items()
        for name, tensor in model.state_dict(keep_vars=True).items()
    }


def places(pipeline) -> dict[str, int]:
    return {
        f"{part}.{name}": tensor.data_ptr()
        for part, model in models(pipeline).items()
        for name, tensor in model.state_dict(keep_vars=True).items()
    }


def written(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - count for name, count in before.items() if after[name] != count}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("key", "dtype"),
    [
        ("sd1", FP32),
        ("sd1", FP16),
        ("sd1 in half precision", FP32),
        ("sd1 in half precision", BF16),
        ("sd2", FP32),
        ("sdxl", FP32),
        ("sdxl", FP16),
    ],
    ids=str,
)
def test_as_diffusers_loads_it(studio_of, tmp_path, key: str, dtype, device: str) -> None:
    studio: Studio = studio_of(key)
    pipeline = studio.pipeline(dtype).to(device)
    base, base_outputs, where = weights_of(pipeline), outputs_of(pipeline), places(pipeline)
    with SubjectSwitcher(pipeline, studio.registry) as switcher:
        for ref, runs in (("one", "text_encoder"), ("other", "vae")):
            file = studio.materialized(ref, dtype, tmp_path / ref).to(device)
            expected, count = weights_of(file), writes(pipeline)
            differing = changed(base, expected)
            with switcher.subject(ref):
                assert switcher.current == f"{ref}@1"
                assert changed(weights_of(pipeline), expected) == set()
                outputs, theirs = outputs_of(pipeline), outputs_of(file)
                for name, output in outputs.items():
                    assert same(output, theirs[name]), name
                for name in ("unet", runs):
                    assert not same(outputs[name], base_outputs[name])
                touched = written(count, writes(pipeline))
                assert set(touched.values()) == {1}
                # A change that a half-precision pipeline rounds away is written all the same.
                assert touched.keys() >= differing
                names = ("unet.", "text_encoder") if ref == "one" else ("unet.", "vae.decoder.")
                # In a wider pipeline, what the subject's file has rounded is another number.
                if STUDIOS[key][3][1] in (FP32, dtype):
                    assert all(name.startswith(names) for name in touched)
            assert switcher.current is None
            assert changed(base, weights_of(pipeline)) == set()
            for name, output in outputs_of(pipeline).items():
                assert same(output, base_outputs[name]), name
    assert places(pipeline) == where


def test_one_subject_after_another_is_not_by_way_of_the_base(sd1: Studio, tmp_path) -> None:
    pipeline = sd1.pipeline()
    base = weights_of(pipeline)
    expected = {
        ref: weights_of(sd1.materialized(ref, FP32, tmp_path / ref)) for ref in ("one", "other")
    }
    differing = {ref: changed(base, weights) for ref, weights in expected.items()}
    assert differing["one"] & differing["other"]
    assert differing["one"] - differing["other"]
    assert differing["other"] - differing["one"]
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    with switcher.subject("one"):
        for ref in ("other", "one", "other"):
            count = writes(pipeline)
            switcher.switch(ref)
            assert switcher.current == f"{ref}@1"
            assert changed(weights_of(pipeline), expected[ref]) == set()
            once = dict.fromkeys(differing["one"] | differing["other"], 1)
            assert written(count, writes(pipeline)) == once
        count = writes(pipeline)
        switcher.switch("other@latest")  # is there already
        assert written(count, writes(pipeline)) == {}
    assert changed(base, weights_of(pipeline)) == set()


def test_a_lower_tau(sd1: Studio, tmp_path) -> None:
    pipeline = sd1.pipeline()
    expected = weights_of(sd1.materialized("one", FP32, tmp_path / "low", tau=0.3))
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    with switcher.subject("one"):
        whole = weights_of(pipeline)
        switcher.switch("one", tau=0.3)
        assert changed(weights_of(pipeline), expected) == set()
        assert changed(whole, expected)
        count = writes(pipeline)
        switcher.switch("one", tau=0.1 + 0.2)  # the same whole number of millionths
        assert written(count, writes(pipeline)) == {}


def test_an_exception_in_the_block_restores(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    base = weights_of(pipeline)
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    with pytest.raises(KeyboardInterrupt), switcher.subject("one"):
        raise KeyboardInterrupt
    assert changed(base, weights_of(pipeline)) == set()
    with switcher.subject("other"):
        pass


def test_a_whole_run_of_the_pipeline(sd1: Studio, tmp_path) -> None:
    pipeline = sd1.pipeline()
    loaded = sd1.materialized("one", FP32, tmp_path / "one")

    def image(pipe) -> torch.Tensor:
        pipe.set_progress_bar_config(disable=True)
        ids = torch.tensor([[0, 7, 9, 1]])
        with torch.no_grad():
            embeddings = pipe.text_encoder(ids).last_hidden_state
        made = pipe(
            prompt_embeds=embeddings,
            negative_prompt_embeds=torch.zeros_like(embeddings),
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
        )
        return made.images

    before = image(pipeline)
    with SubjectSwitcher(pipeline, sd1.registry).subject("one"):
        subject = image(pipeline)
    assert same(subject, image(loaded))
    assert not same(subject, before)
    assert same(image(pipeline), before)


def test_gradients_go_on(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    weight = pipeline.unet.conv_in.weight.requires_grad_()
    with SubjectSwitcher(pipeline, sd1.registry).subject("one"):
        assert weight is pipeline.unet.conv_in.weight
        assert weight.is_leaf and weight.requires_grad
        (weight * 2).sum().backward()
    assert torch.equal(weight.grad, torch.full_like(weight, 2.0))


@pytest.mark.parametrize("inside", [True, False])
def test_a_pipeline_of_inference_mode(sd1: Studio, tmp_path, inside: bool) -> None:
    with torch.inference_mode():
        pipeline = sd1.pipeline()
        for model in models(pipeline).values():
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
    base = weights_of(pipeline)
    expected = weights_of(sd1.materialized("one", FP32, tmp_path / "one"))
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    with torch.inference_mode(inside), switcher.subject("one"):
        assert changed(weights_of(pipeline), expected) == set()
    assert changed(base, weights_of(pipeline)) == set()


def test_a_compiled_unet_is_not_compiled_again(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    before = outputs_of(pipeline)["unet"]
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    plain = {}
    for ref in ("one", "other"):
        switcher.switch(ref)
        plain[ref] = outputs_of(pipeline)["unet"]
    switcher.restore()
    compiled = CompileCounterWithBackend("aot_eager")
    eager, pipeline.unet = pipeline.unet, torch.compile(pipeline.unet, backend=compiled)
    assert pipeline.unet is not eager
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    assert same(outputs_of(pipeline)["unet"], before)
    graphs = compiled.frame_count
    assert graphs > 0
    for ref in ("one", "other", "one"):
        switcher.prefetch("other")  # is used by one of them, and dropped by the others
        switcher.switch(ref)
        assert same(outputs_of(pipeline)["unet"], plain[ref])
    switcher.close()
    assert same(outputs_of(pipeline)["unet"], before)
    assert compiled.frame_count == graphs


def test_the_next_subject_is_made_while_the_pipeline_runs(own: Studio, tmp_path) -> None:
    """The switch then needs nothing but memory: the versions' containers are gone."""
    pipeline = own.pipeline()
    expected = {
        ref: weights_of(own.materialized(ref, FP32, tmp_path / ref)) for ref in ("one", "other")
    }
    with SubjectSwitcher(pipeline, own.registry) as switcher:
        switcher.switch("other")  # with this its base is open and compared
        switcher.switch("one")
        undisturbed, count = outputs_of(pipeline), writes(pipeline)
        settings = torch.get_num_threads(), torch.get_float32_matmul_precision()
        switcher.prefetch("other@latest")
        while not made(switcher):
            for name, output in outputs_of(pipeline).items():
                assert same(output, undisturbed[name]), name
            assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == settings
        assert writes(pipeline) == count
        assert switcher.current == "one@1"
        for ref in ("one", "other"):
            object_path(own.registry.folder, own.registry.version(ref).container).unlink()
        switcher.switch("other")
        assert switcher.current == "other@1"
        assert changed(weights_of(pipeline), expected["other"]) == set()
        with pytest.raises(DsvdError):  # it was made for one switch
            switcher.switch("one")


def made(switcher: SubjectSwitcher) -> bool:
    """Whether the thread has ended."""
    return switcher._next is not None and switcher._next._made.done()


@pytest.mark.parametrize("asked", [("one", None), ("other", 0.3)])
def test_another_subject_than_the_one_made_ahead(sd1: Studio, tmp_path, asked) -> None:
    ref, tau = asked
    expected = weights_of(sd1.materialized(ref, FP16, tmp_path / ref, tau=tau))
    pipeline = sd1.pipeline()
    with SubjectSwitcher(pipeline, sd1.registry) as switcher:
        switcher.prefetch("one", tau=0.3)
        switcher.prefetch("other")
        pipeline.to(FP16)
        switcher.switch(ref, tau=tau)
        assert changed(weights_of(pipeline), expected) == set()
        threads = {thread.name for thread in threading.enumerate()}
        assert not any(name.startswith("dsvd-prefetch") for name in threads)


@pytest.mark.parametrize("dtype", [FP32, FP16, BF16], ids=str)
def test_made_ahead_in_every_dtype(studio_of, tmp_path, dtype) -> None:
    """Over a base in half precision, for a pipeline in this dtype; subnormal numbers are kept."""
    studio = studio_of("sd1 in half precision")
    pipeline = studio.pipeline(dtype)
    expected = weights_of(studio.materialized("one", dtype, tmp_path / "one"))
    with SubjectSwitcher(pipeline, studio.registry) as switcher:
        switcher.prefetch("one")
        switcher.switch("one")
        assert changed(weights_of(pipeline), expected) == set()


def test_an_error_ahead_is_raised_by_the_switch(own: Studio) -> None:
    flip(object_path(own.registry.folder, own.registry.version("one").container))
    pipeline = own.pipeline()
    with SubjectSwitcher(pipeline, own.registry) as switcher:
        switcher.switch("other")
        count = writes(pipeline)
        for ref, error in (("nobody", NotFound), ("one", ContainerError)):
            switcher.prefetch(ref)
            with pytest.raises(error):
                switcher.switch(ref)
            assert writes(pipeline) == count  # nothing was written, so nothing is to be restored
            assert switcher.current == "other@1"


def test_a_pipeline_that_is_cast_meanwhile(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    with switcher.subject("one"):
        pipeline.to(FP16)
    half = weights_of(sd1.pipeline(FP16))
    assert changed(half, weights_of(pipeline)) == set()
    with switcher.subject("other"):
        pass
    assert changed(half, weights_of(pipeline)) == set()


def test_parts_that_the_subject_does_not_change_may_be_missing(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    pipeline.register_modules(vae=None)
    base = weights_of(pipeline)
    with SubjectSwitcher(pipeline, sd1.registry).subject("one"):
        assert changed(base, weights_of(pipeline))
    assert changed(base, weights_of(pipeline)) == set()


def test_after_close_it_may_be_used_again(sd1: Studio) -> None:
    pipeline = sd1.pipeline()
    base = weights_of(pipeline)
    switcher = SubjectSwitcher(pipeline, sd1.registry)
    switcher.switch("one")
    switcher.close()
    assert changed(base, weights_of(pipeline)) == set()
    switcher.switch("other")
    assert changed(base, weights_of(pipeline))
    switcher.restore()
    assert changed(base, weights_of(pipeline)) == set()
