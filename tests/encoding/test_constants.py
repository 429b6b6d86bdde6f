"""Constants come back to the bit whatever is asked for, and use up none of the error of the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lora.small import base_weights, kohya, pairs
from safetensors.torch import load_file

from dsvd_registry import Registry
from dsvd_registry.encoding.constants import Values, is_constant, is_constant_name

from .inputs import (
    DTYPES,
    Numbers,
    Weights,
    bits,
    cast,
    constants,
    relative_error,
    scaled,
    weights_of_a_model,
    write,
)

WISHES: tuple[dict[str, Any], ...] = (
    {"tau": 0.06},
    {"tau": 0.5},
    {"tau": 1.0},
    {"max_error": 0.5},
    {"max_error": 0.05},
    {"budget": 30_000},
    {"lossless": True},
    {"tau": 0.2, "lossless": True},
)


class Model:
    """A base and a fine-tune with constants among their weights, written and known apart."""

    def __init__(self, folder: Path, base_dtype: torch.dtype, dtype: torch.dtype) -> None:
        base, tuned = weights_of_a_model(1, "falling")
        before, after = constants(2)
        self.base, self.tuned = cast(base, base_dtype), cast(tuned, dtype)
        self.before, self.constants = cast(before, base_dtype), cast(after, dtype)
        self.base_file = write(self.base | self.before, folder / "base.safetensors")
        self.file = write(self.tuned | self.constants, folder / "ft.safetensors")

    def assert_exact(self, result: Path) -> None:
        made = load_file(result)
        assert made.keys() == self.tuned.keys() | self.constants.keys()
        for name, constant in self.constants.items():
            assert made[name].dtype == constant.dtype and bits(made[name]) == bits(constant), name


@pytest.fixture(params=[("fp32", "fp32"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp32", "fp16")])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    base, tuned = request.param
    return Model(tmp_path, DTYPES[base], DTYPES[tuned])


def test_exact_at_every_fidelity_and_never_part_of_the_error(model: Model, tmp_path: Path) -> None:
    plain = write(model.tuned, tmp_path / "plain.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", model.base_file)
        for number, wish in enumerate(WISHES):
            added = registry.add(model.file, base="base", name=f"m{number}", **wish)
            made = registry.materialize(added.ref, tmp_path / f"{number}.safetensors")
            model.assert_exact(made.path)
            report = registry.report(added.ref)
            assert {r.name for r in report.tensors if r.kind == "constant"} == set(model.constants)
            # Never one of the base. Of half precision and at the least error most may go in raw.
            raw = {r.name for r in report.tensors if r.kind in ("raw", "constant")}
            size = {name: t.nbytes for name, t in (model.tuned | model.constants).items()}
            is_mostly_raw = 2 * sum(size[name] for name in raw) > sum(size.values())
            assert len(report.warnings) == is_mostly_raw
            assert all("are stored as they are" in warning for warning in report.warnings)
            assert report.change < 0.2
            if "lossless" in wish:
                assert made.path.read_bytes() == model.file.read_bytes()
                continue
            found = relative_error(made.path, model.base, model.tuned)
            assert found <= wish.get("max_error", 1)
            # What is said is what is: the error of the deltas that are stored.
            deltas = {r.name for r in report.tensors if r.kind in ("low_rank", "dense")}
            assert deltas <= model.tuned.keys()
            stored = {name: model.tuned[name] for name in deltas}
            of_deltas = relative_error(made.path, model.base, stored) if stored else 0.0
            assert report.error == pytest.approx(of_deltas, rel=1e-4)
            if "tau" in wish:
                # Of the weights everything is as it would be without constants.
                without = registry.add(plain, base="base", name=f"p{number}", **wish)
                assert registry.report(without.ref).error == report.error
        small = registry.add(model.file, base="base", name="small", budget=30_000).version
        assert small.size <= 30_000


def test_a_lower_tau_and_a_cast_keep_them(model: Model, tmp_path: Path) -> None:
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", model.base_file)
        registry.add(model.file, base="base", name="m", tau=0.8)
        model.assert_exact(registry.materialize("m", tmp_path / "lower.safetensors", tau=0.1).path)
        wide = load_file(registry.materialize("m", tmp_path / "c.safetensors", dtype="fp32").path)
        for name, constant in model.constants.items():
            assert torch.equal(wide[name], constant.float()), name


def test_those_of_the_base_are_not_stored(tmp_path: Path) -> None:
    base, tuned = weights_of_a_model(1, "falling", layers=2)
    same, _ = constants(2)
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", write(base | same, tmp_path / "base.safetensors"))
        halved = cast(tuned | same, torch.float16)
        added = registry.add(write(halved, tmp_path / "ft.safetensors"), base="base", name="m")
        kinds = {row.name: row.kind for row in registry.report(added.ref).tensors}
        assert {kinds[name] for name in same} == {"same"}


def test_of_a_folder(tmp_path: Path) -> None:
    base, tuned = weights_of_a_model(3, "low rank", layers=2)
    before, after = constants(4)
    for label, weights in (("base", base | before), ("tuned", tuned | after)):
        (tmp_path / label).mkdir()
        (tmp_path / label / "config.json").write_text(json.dumps({"of": label}))
        write(weights, tmp_path / label / "diffusion_pytorch_model.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base")
        registry.add(tmp_path / "tuned", base="base", name="m", max_error=0.3)
        made = registry.materialize("m", tmp_path / "out").path
        found = load_file(made / "diffusion_pytorch_model.safetensors")
        for name, constant in after.items():
            assert bits(found[name]) == bits(constant), name


def test_of_a_merged_lora(tmp_path: Path) -> None:
    """The base's norm is a sequence here; the LoRA adds to it."""
    base = base_weights()
    norm = "unet.down_blocks.0.attentions.0.transformer_blocks.0.norm1.weight"
    base[norm] = torch.arange(1, 15) / 8
    path = norm.removeprefix("unet.").removesuffix(".weight").replace(".", "_")
    added = scaled(Numbers(5).bell(14), -12)
    lora = kohya(pairs()) | {f"lora_unet_{path}.diff": added}
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", write(base, tmp_path / "base.safetensors"))
        registry.add(write(lora, tmp_path / "lora.safetensors"), base="base", name="m", tau=0.06)
        made = load_file(registry.materialize("m", tmp_path / "out.safetensors").path)
        assert bits(made[norm]) == bits(base[norm] + added)
        kinds = {row.name: row.kind for row in registry.report("m").tensors}
        assert [name for name, kind in kinds.items() if kind == "constant"] == [norm]


def test_the_base_is_recognised_in_spite_of_them(tmp_path: Path) -> None:
    """Names apart: the values of a sequence are larger than those of all weights."""
    first, tuned = weights_of_a_model(1, "falling", layers=2)
    second, _ = weights_of_a_model(2, "falling", layers=2)
    table = torch.arange(4000).reshape(40, 100).float()
    with Registry.init(tmp_path / "registry") as registry:
        # The constants alone would say the second.
        for name, weights, one in (("first", first, 7 * table), ("second", second, table)):
            file = write(weights | {"table": one}, tmp_path / f"{name}.safetensors")
            registry.add_base(name, file)
        match = registry.best_base(write(tuned | {"table": table}, tmp_path / "ft.safetensors"))
        assert match.is_sure and match.best.name == "first"


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_no_constants(dtype: str) -> None:
    """Tensors of every shape and beginning that weights have, trained a little."""
    numbers = Numbers(7)
    beginnings: Weights = {
        "norm": torch.ones(8),
        "zero": torch.zeros(320),
        "scale of a layer": torch.full((64,), 1e-5),
        "identity": torch.eye(32),
        **{f"bias of {n}": numbers.weights(n) for n in (8, 9, 16, 64, 320)},
        **{f"matrix {n}": numbers.weights(n, n) for n in (3, 8, 40)},
        "large": 2.0 ** (15 if dtype == "fp16" else 30) * numbers.weights(40, 40),
    }
    for name, before in beginnings.items():
        change = scaled(numbers.bell(*before.shape), -16) * before.abs().max().clamp_min(1e-3)
        base, tuned = before.to(DTYPES[dtype]), (before + change).to(DTYPES[dtype])
        assert not is_constant(["a.weight"], values(base), values(tuned)), name


def test_a_thousand_small_vectors_at_random_are_no_sequences() -> None:
    numbers = Numbers(8)
    for _ in range(1000):
        base = numbers.weights(8)
        assert not is_constant(["bias"], values(base), values(base * 1.0625))


def test_what_is_not_finite_is_left_to_others() -> None:
    odd = torch.tensor(
        [0.0, 1, 2, float("nan"), 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, float("inf")]
    )
    assert not is_constant(["a"], values(odd), values(odd))


def test_names() -> None:
    for name in (
        "alphas_cumprod",
        "model_ema.num_updates",
        "unet/sqrt_one_minus_alphas_cumprod",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "blocks.0.attn.to_q.weight.absmax",
        "vae.per_channel_statistics.mean-of-means",
    ):
        assert is_constant_name(name), name
    for name in (
        "conv_in.weight",
        "norm.bias",
        "mean.weight",
        "time_mixer.mix_factor",
        "betas.0.a",
    ):
        assert not is_constant_name(name), name


def values(tensor: torch.Tensor) -> Values:
    dtype = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[tensor.dtype]
    return Values(memoryview(np.frombuffer(bits(tensor), np.uint8)), dtype)
