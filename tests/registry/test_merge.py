"""Merges of versions equal float64 merges of their files, but for one rounding on each side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trained_pair import FINE_TUNE, SUBJECT, one_thread, trained_models, trained_pair, tuned

from dsvd_registry import Registry
from dsvd_registry.registry import LayerWeight

from .conftest import write_safetensors
from .merging import Weights, check_merge, check_sum, exact, reals, result, same_bits

OTHERS = ("cat", "backpack")
SUBJECTS = (SUBJECT, *OTHERS)
# A part of the model, with every kind of layer, that merges in a second.
PARTS = ("unet.conv_", "unet.up_blocks.2.", "unet.down_blocks.0.", "unet.time_", "text_encoder.")
TAUS = dict(zip(SUBJECTS, (0.8, 0.5, 0.9), strict=True))


@dataclass(frozen=True)
class Studio:
    """A registry with a trained base and three really trained subjects of it. Tests merge in it."""

    registry: Registry
    base: Weights
    folder: Path


def subjects() -> dict[str, Weights]:
    """The weights of every subject, each trained on its own photographs."""
    base, fine_tuned = trained_models().base, trained_pair()[1]
    plans = [replace(FINE_TUNE, seed=100 + number) for number in range(len(OTHERS))]
    others = zip(OTHERS, plans, strict=True)
    return {SUBJECT: fine_tuned} | {name: tuned(base, name, plan) for name, plan in others}


def rounded(weights: Weights, dtype: torch.dtype) -> Weights:
    return {name: tensor.to(dtype) for name, tensor in weights.items() if name.startswith(PARTS)}


@pytest.fixture(scope="module", params=["F32", "F16", "BF16"])
def studio(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """In fp32; with the subjects in fp16 over an fp32 base; all in bf16."""
    folder = tmp_path_factory.mktemp("studio")
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[request.param]
    of_base = torch.float32 if dtype == torch.float16 else dtype
    base = rounded(trained_pair()[0], of_base)
    with one_thread(), Registry.init(folder / "registry") as registry:
        registry.add_base("tiny", write_safetensors(base, folder / "base.safetensors"))
        for subject, weights in subjects().items():
            file = write_safetensors(rounded(weights, dtype), folder / "subject.safetensors")
            registry.add(file, base="tiny", name=subject, tau=TAUS[subject], keep_noise=True)
        yield Studio(registry, base, folder)


def test_a_sum_is_that_of_the_files(studio: Studio) -> None:
    parts = [("dog6", 0.6), ("cat", 0.3), ("backpack", 0.25)]
    merged = studio.registry.merge(parts, name="three")
    check_merge(studio.registry, merged.ref, parts, studio.base, studio.folder)
    assert studio.registry.verify(merged.ref, deep=True).is_well


def test_the_weights_matter(studio: Studio) -> None:
    merged = studio.registry.merge([("dog6", 0.6), ("cat", 0.4)], name="sixty")
    with pytest.raises(AssertionError):
        wrong = [("dog6", 0.61), ("cat", 0.4)]
        check_merge(studio.registry, merged.ref, wrong, studio.base, studio.folder)


def test_negative_weights_and_large_ones(studio: Studio) -> None:
    parts = [("dog6", 2.5), ("cat", -1.25)]
    merged = studio.registry.merge(parts, name="far")
    check_merge(studio.registry, merged.ref, parts, studio.base, studio.folder)


def test_a_weight_of_1_is_the_version_to_the_bit(studio: Studio) -> None:
    own = result(studio.registry, "dog6", studio.folder)
    for name, parts in (
        ("one", [("dog6", 1.0)]),
        ("and-nothing", [("dog6", 1.0), ("cat", 0.0)]),
        ("nothing-first", [("cat", 0.0), ("dog6", 1.0)]),
        ("in-halves", [("dog6", 0.5), ("dog6", 0.5)]),
    ):
        merged = studio.registry.merge(parts, name=name)
        assert same_bits(result(studio.registry, merged.ref, studio.folder), own), name
        assert studio.registry.report(merged.ref).error == 0


def test_weights_of_0_are_the_base(studio: Studio) -> None:
    dtype = next(iter(result(studio.registry, "dog6", studio.folder).values())).dtype
    base = {name: tensor.to(dtype) for name, tensor in studio.base.items()}
    for name, parts in (
        ("none", [("dog6", 0.0), ("cat", 0.0)]),
        ("cancelled", [("dog6", 1.0), ("dog6", -1.0)]),
    ):
        merged = studio.registry.merge(parts, name=name)
        assert same_bits(result(studio.registry, merged.ref, studio.folder), base), name
        assert {row.kind for row in studio.registry.report(merged.ref).tensors} == {"same"}


def test_sums_of_sums(studio: Studio) -> None:
    registry = studio.registry
    registry.merge([("dog6", 0.5), ("cat", 0.5)], name="left")
    registry.merge([("left", 0.5), ("backpack", 0.5)], name="nested")
    registry.merge([("dog6", 0.25), ("cat", 0.25), ("backpack", 0.5)], name="flat")
    nested, flat = (result(registry, ref, studio.folder) for ref in ("nested", "flat"))
    for name, tensor in flat.items():
        # One is the sum of the other, weight 1: each has its own grid and its own rounding.
        check_sum(nested[name], studio.base[name], [(1.0, tensor)], name, grid=3e-5)


def test_what_is_subtracted_comes_back(studio: Studio) -> None:
    registry = studio.registry
    less = registry.merge([("dog6", 1.0), ("cat", -1.0)], name="less")
    check_merge(registry, less.ref, [("dog6", 1.0), ("cat", -1.0)], studio.base, studio.folder)
    back = registry.merge([("less", 1.0), ("cat", 1.0)], name="back")
    own = result(registry, "dog6", studio.folder)
    for name, tensor in result(registry, back.ref, studio.folder).items():
        less_is_larger = 10 * 1e-5  # the change of `less` may be a few times that of dog6
        check_sum(tensor, studio.base[name], [(1.0, own[name])], name, grid=less_is_larger)


@pytest.mark.parametrize("fidelity", [{"tau": 0.5}, {"max_error": 0.2}, {"max_error": 0.02}])
def test_the_error_is_that_to_the_exact_sum(studio: Studio, fidelity: dict[str, float]) -> None:
    parts = [("dog6", 0.5), ("cat", 0.5)]
    registry = studio.registry
    whole = registry.merge(parts, name="whole")
    cut = registry.merge(parts, name="cut", **fidelity)
    assert cut.version.size < whole.version.size
    made, full = (result(registry, one.ref, studio.folder) for one in (cut, whole))
    off = sum(float(((reals(made[n]) - reals(full[n])) ** 2).sum()) for n in made)
    files = [(weight, result(registry, ref, studio.folder)) for ref, weight in parts]
    sums = {n: exact(b, [(w, file[n]) for w, file in files]) for n, b in studio.base.items()}
    square = sum(float(((total - reals(studio.base[n])) ** 2).sum()) for n, total in sums.items())
    reported = registry.report(cut.ref).error
    if made["unet.conv_in.weight"].dtype == torch.float32:
        assert reported == pytest.approx((off / square) ** 0.5, rel=0.01)
    assert reported <= fidelity.get("max_error", 1.0)


def test_factors_for_layers(studio: Studio) -> None:
    rules = [
        LayerWeight("text encoder", 0.0),
        LayerWeight("unet.*", 0.5),
        LayerWeight("unet.up_blocks.*", 2.0, "cat"),
    ]
    parts = [("dog6", 0.5), ("cat", 0.5)]
    merged = studio.registry.merge(parts, name="blocks", layers=rules)
    made = result(studio.registry, merged.ref, studio.folder)
    dog, cat = (result(studio.registry, ref, studio.folder) for ref, _ in parts)
    seen = set()
    for name, tensor in made.items():
        if name.startswith("text_encoder."):
            factors = (0.0, 0.0)
        elif name.startswith("unet.up_blocks."):
            factors = (0.5, 2.0)
        elif name.startswith("unet."):
            factors = (0.5, 0.5)
        else:
            factors = (1.0, 1.0)
        seen.add(factors)
        weighted = [(0.5 * factors[0], dog[name]), (0.5 * factors[1], cat[name])]
        check_sum(tensor, studio.base[name], weighted, name)
    assert {(0.0, 0.0), (0.5, 2.0), (0.5, 0.5)} <= seen


def test_a_merge_is_a_version(studio: Studio) -> None:
    registry = studio.registry
    merged = registry.merge([("dog6", 0.5), ("cat", 0.5)], name="usual")
    parts = registry.diff(merged.ref, "dog6")
    assert 0 < parts.distance < 1
    half = registry.materialize(
        merged.ref, studio.folder / "half.safetensors", tau=0.5, replace=True
    )
    assert {t.dtype for t in load_file(half.path).values()} == {
        t.dtype for t in result(registry, merged.ref, studio.folder).values()
    }
    assert np.isfinite(registry.report(merged.ref).change)
