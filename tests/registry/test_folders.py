"""Folders of diffusers: in, out, as bases, and in another layout; loaded again by diffusers itself."""

from __future__ import annotations

import filecmp
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from layouts.pipelines import folder, models, randomised, single_file
from layouts.training import trained
from layouts.transformers import KINDS
from lora.pipelines import LAYERS, PIPELINES
from safetensors.torch import load_file, save_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import BaseMismatch, Conflict, InvalidArgument
from dsvd_registry.runtime import SubjectSwitcher

VOCABULARY = json.dumps({f"word{n}": n for n in range(500)})


@dataclass(frozen=True)
class Tuned:
    """A pipeline's folders, before and after some steps, and the file in the original layout."""

    family: str
    base: Path
    tuned: Path
    base_file: Path
    tuned_file: Path


@pytest.fixture(scope="module", params=PIPELINES)
def pair(request, tmp_path_factory) -> Tuned:
    """A pair of folders of each family."""
    return _tuned(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Tuned:
    """A pair of folders of one family, for tests that do not depend on it."""
    return _tuned("sd1", tmp_path_factory.mktemp("one"))


def _tuned(family: str, place: Path) -> Tuned:
    with one_thread():
        pipeline = PIPELINES[family]()
        with torch.no_grad():
            for model in models(randomised(pipeline)).values():
                for parameter in model.parameters():
                    parameter.mul_(0.05)
        _save(pipeline, family, place / "base")
        trained(pipeline)
        _save(pipeline, family, place / "tuned")
    return Tuned(
        family,
        place / "base",
        place / "tuned",
        place / "base.safetensors",
        place / "tuned.safetensors",
    )


def _save(pipeline: DiffusionPipeline, family: str, place: Path) -> None:
    pipeline.save_pretrained(place)
    (place / "tokenizer").mkdir()
    (place / "tokenizer" / "vocab.json").write_text(VOCABULARY)
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    whole = {name: t.detach().clone() for name, t in single_file(family, states, LAYERS).items()}
    save_file(whole, place.with_suffix(".safetensors"))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.init(tmp_path / "registry")


@pytest.fixture
def stored(one: Tuned, registry: Registry) -> Registry:
    """A registry with a folder as a base, and its fine-tune `subject`."""
    return _stored(one, registry)


def _stored(pair: Tuned, registry: Registry) -> Registry:
    registry.add_base("base", pair.base)
    registry.add(pair.tuned, base="base", name="subject")
    return registry


def paths(place: Path) -> list[str]:
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())


def loaded(place: Path, *, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The weights that diffusers loads from a pipeline's folder."""
    given = dict.fromkeys(("tokenizer", "tokenizer_2", "feature_extractor", "image_encoder"))
    pipeline = DiffusionPipeline.from_pretrained(
        place, dtype=dtype, **_taken(place, given), local_files_only=True
    )
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    return {f"{name}.{n}": tensor for name, state in states.items() for n, tensor in state.items()}


def _taken(place: Path, given: dict[str, None]) -> dict[str, None]:
    index = json.loads((place / "model_index.json").read_text())
    return {name: None for name in given if name in index}


def plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors with the names of old and of new versions of transformers."""
    return {name.replace(".text_model.", "."): tensor for name, tensor in state.items()}


def test_the_same_tree_again(pair: Tuned, registry: Registry, tmp_path: Path) -> None:
    _stored(pair, registry)
    written = registry.materialize("subject", tmp_path / "made")
    assert written.recorded
    assert paths(written.path) == paths(pair.tuned)
    # What no delta was taken of is the source's, to the byte; so is all that holds no tensor.
    same = [p for p in paths(pair.tuned) if filecmp.cmp(pair.tuned / p, written.path / p, False)]
    changed = set(paths(pair.tuned)) - set(same)
    assert changed <= {p for p in paths(pair.tuned) if p.endswith(".safetensors")}
    assert "vae/diffusion_pytorch_model.safetensors" in same
    assert "unet/diffusion_pytorch_model.safetensors" in changed
    with registry.tensors("subject") as tensors:
        made = plain(loaded(written.path))
        assert (
            made.keys()
            == plain({name.replace("/", ".", 1): t for name, t in tensors.items()}).keys()
        )
        for name, tensor in tensors.items():
            ours = name.replace("/", ".", 1).replace(".text_model.", ".")
            assert torch.equal(tensor, made[ours]), name


def test_what_the_base_has_is_not_stored(one: Tuned, stored: Registry, tmp_path: Path) -> None:
    version = stored.version("subject")
    other = Registry.init(tmp_path / "other")
    other.add_base("file", one.base_file)
    apart = other.add(one.tuned, base="file", name="subject").version
    stored_bytes = len((one.tuned / "tokenizer" / "vocab.json").read_bytes())
    assert apart.size > version.size + 200  # its vocabulary and configurations, compressed
    assert stored_bytes > 5000
    written = other.materialize("subject", tmp_path / "made")
    assert paths(written.path) == paths(one.tuned)
    vocabulary = written.path / "tokenizer" / "vocab.json"
    assert vocabulary.read_text() == VOCABULARY
    assert other.verify(deep=True).is_well


def test_added_again_it_is_recognised(one: Tuned, stored: Registry, tmp_path: Path) -> None:
    assert not stored.add(one.tuned, base="base", name="subject").created
    copy = shutil.copytree(one.tuned, tmp_path / "copy")
    assert not stored.add(copy, base="base", name="subject").created
    (copy / "tokenizer" / "vocab.json").write_text("{}")
    again = stored.add(copy, base="base", name="subject")
    assert again.created
    made = stored.materialize(again.ref, tmp_path / "made").path
    assert (made / "tokenizer" / "vocab.json").read_text() == "{}"


def test_a_single_file_of_a_folder(pair: Tuned, registry: Registry, tmp_path: Path) -> None:
    """The single file has the names of the original layout, and the exact bits of each tensor."""
    _stored(pair, registry)
    written = registry.materialize("subject", tmp_path / "one.safetensors", layout="single-file")
    assert written.left_out == ()
    with registry.tensors("subject") as tensors:
        states: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            model, _, own = name.partition("/")
            states.setdefault(model, {})[own] = tensor
        expected = single_file(pair.family, states, LAYERS)
    made = load_file(written.path)
    assert made.keys() == expected.keys()
    for name, tensor in made.items():
        assert torch.equal(tensor, expected[name]), name


def test_a_folder_of_a_single_file(pair: Tuned, registry: Registry, tmp_path: Path) -> None:
    registry.add_base("file", pair.base_file)
    registry.add_base("folder", pair.base)
    registry.add(pair.tuned_file, base="file", name="subject", tau=1.0)
    with pytest.raises(InvalidArgument, match="configurations"):
        registry.materialize("subject", tmp_path / "made", layout="diffusers")
    with pytest.raises(InvalidArgument, match="single file"):
        registry.materialize("subject", tmp_path / "made", layout="diffusers", like="file")
    made = registry.materialize("subject", tmp_path / "made", layout="diffusers", like="folder")
    assert paths(made.path) == paths(pair.base)
    with registry.tensors("subject") as tensors:
        as_added = dict(tensors.items())
    back = plain(loaded(made.path))
    states: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in folder(made.path).items():
        model, _, own = name.partition(".")
        states.setdefault(model, {})[own] = tensor
    again = single_file(pair.family, states, LAYERS)
    assert again.keys() == as_added.keys()
    assert all(torch.equal(again[name], as_added[name]) for name in again)
    assert back.keys() == plain(folder(made.path)).keys()


def test_across_layouts(pair: Tuned, registry: Registry, tmp_path: Path) -> None:
    """A folder over a single file: out as each, the same numbers."""
    registry.add_base("file", pair.base_file)
    registry.add(pair.tuned, base="file", name="subject")
    as_added = registry.materialize("subject", tmp_path / "folder")
    single = registry.materialize("subject", tmp_path / "one.safetensors", layout="single-file")
    states: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in folder(as_added.path).items():
        model, _, own = name.partition(".")
        states.setdefault(model, {})[own] = tensor
    expected, made = single_file(pair.family, states, LAYERS), load_file(single.path)
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in made)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_cast(stored: Registry, tmp_path: Path, dtype: str) -> None:
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    whole = stored.materialize("subject", tmp_path / "whole")
    cast = stored.materialize("subject", tmp_path / "cast", dtype=dtype)
    single = stored.materialize(
        "subject", tmp_path / "one.safetensors", dtype=dtype, layout="single-file"
    )
    exact, rounded = folder(whole.path), folder(cast.path)
    assert exact.keys() == rounded.keys()
    for name, tensor in exact.items():
        assert torch.equal(rounded[name], tensor.to(kind) if tensor.is_floating_point() else tensor)
    assert {t.dtype for t in load_file(single.path).values() if t.is_floating_point()} == {kind}
    loaded(cast.path, dtype=kind)


def test_a_lora_over_a_folder_gives_the_folder(
    one: Tuned, stored: Registry, tmp_path: Path
) -> None:
    with stored.tensors("subject") as tensors:
        names = [n for n in tensors if n.startswith("unet/") and n.endswith("to_q.weight")]
        shapes = {name: tensors[name].shape for name in names[:2]}
    factors = {}
    for name, (rows, columns) in shapes.items():
        path = name.removeprefix("unet/").removesuffix(".weight")
        factors[f"unet.{path}.lora_A.weight"] = torch.ones(1, columns)
        factors[f"unet.{path}.lora_B.weight"] = torch.full((rows, 1), 0.125)
    save_file(factors, tmp_path / "lora.safetensors")
    stored.add(tmp_path / "lora.safetensors", base="base")
    made = stored.materialize("lora", tmp_path / "made")
    assert paths(made.path) == paths(one.base)
    base, result = folder(one.base), folder(made.path)
    for name, tensor in base.items():
        change = 0.125 if name.replace(".", "/", 1) in shapes else 0.0
        assert torch.allclose(result[name] - tensor, torch.full_like(tensor, change), atol=1e-5)


def test_in_a_live_pipeline(one: Tuned, stored: Registry, tmp_path: Path) -> None:
    made = folder(stored.materialize("subject", tmp_path / "made").path)
    given = dict.fromkeys(("tokenizer", "feature_extractor", "image_encoder"))
    pipeline = DiffusionPipeline.from_pretrained(one.base, **_taken(one.base, given))
    before = {name: tensor.clone() for name, tensor in pipeline.unet.state_dict().items()}
    with SubjectSwitcher(pipeline, stored).subject("subject"):
        for name, tensor in pipeline.unet.state_dict().items():
            assert torch.equal(tensor, made[f"unet.{name}"]), name
    for name, tensor in pipeline.unet.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_upkeep(one: Tuned, stored: Registry, tmp_path: Path) -> None:
    """Garbage collection knows the files of a folder, and verify finds one that was changed."""
    assert stored.collect_garbage(grace_days=0).objects == 0
    assert stored.verify(deep=True).is_well
    vocabulary = next(
        path
        for path in (stored.folder / "objects").rglob("*")
        if path.is_file() and path.read_bytes() == VOCABULARY.encode()
    )
    vocabulary.chmod(0o644)
    vocabulary.write_text(VOCABULARY.replace("word7", "wort7"))
    assert not stored.verify().is_well
    with pytest.raises(BaseMismatch):
        stored.materialize("subject", tmp_path / "made")
    assert not (tmp_path / "made").exists()
    stored.add_base("base", one.base)  # repairs it
    assert stored.verify(deep=True).is_well
    stored.remove_version("subject")
    stored.remove_base("base")
    stored.collect_garbage(grace_days=0)
    assert stored.usage().total == 0


def test_a_linked_folder(one: Tuned, registry: Registry, tmp_path: Path) -> None:
    place = shutil.copytree(one.base, tmp_path / "base")
    registry.add_base("base", place, link=True)
    registry.add(one.tuned, base="base", name="subject")
    registry.materialize("subject", tmp_path / "made")
    (place / "tokenizer" / "vocab.json").unlink()
    with pytest.raises(BaseMismatch, match="vocab"):
        registry.materialize("subject", tmp_path / "again")
    shutil.rmtree(place)
    with pytest.raises(BaseMismatch):
        registry.materialize("subject", tmp_path / "again")


def test_what_is_there_is_kept(stored: Registry, tmp_path: Path) -> None:
    stored.materialize("subject", tmp_path / "made")
    with pytest.raises(Conflict):
        stored.materialize("subject", tmp_path / "made")
    (tmp_path / "made" / "extra.txt").write_text("mine")
    stored.materialize("subject", tmp_path / "made", replace=True)
    assert not (tmp_path / "made" / "extra.txt").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(InvalidArgument, match="not a folder that diffusers saves"):
        stored.materialize("subject", tmp_path / "notes", replace=True)
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"
    with pytest.raises(InvalidArgument, match="folder"):
        stored.path("subject", cache=tmp_path / "cache")


def flux() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
    )


def stable_diffusion_3() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        out_channels=4,
    )


@pytest.mark.parametrize("make", [flux, stable_diffusion_3], ids=["flux", "sd3"])
def test_transformers_sharded_in_bf16(make, registry: Registry, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "base", max_shard_size="40KB")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                rank_one = torch.randn(len(parameter), 1) @ torch.randn(1, parameter.shape[1])
                parameter += 0.05 * rank_one.to(torch.bfloat16)
    model.save_pretrained(tmp_path / "tuned", max_shard_size="40KB")
    assert len(list((tmp_path / "tuned").glob("*-of-*.safetensors"))) > 1
    registry.add_base("base", tmp_path / "base")
    registry.add(tmp_path / "tuned", base="base", name="subject", tau=1.0)
    made = registry.materialize("subject", tmp_path / "made")
    assert paths(made.path) == paths(tmp_path / "tuned")
    back = type(model).from_pretrained(made.path, dtype=torch.bfloat16)
    with registry.tensors("subject") as tensors:
        state = back.state_dict()
        assert state.keys() == tensors.keys()
        assert all(torch.equal(state[name], tensors[name]) for name in state)
    one = registry.materialize("subject", tmp_path / "one.safetensors", layout="single-file")
    convert = KINDS["flux-dev" if make is flux else "sd3-medium"].convert
    converted = convert(load_file(one.path))
    assert converted.keys() == state.keys()
    assert all(torch.equal(state[name], converted[name]) for name in state)


def test_one_sub_model_against_a_whole_folder(
    one: Tuned, registry: Registry, tmp_path: Path
) -> None:
    registry.add_base("base", one.base)
    added = registry.add(one.tuned / "unet", base="base", name="subject")
    report = registry.report(added.ref)
    assert not [row.name for row in report.tensors if row.kind == "raw"]
    made = registry.materialize("subject", tmp_path / "made")
    UNet2DConditionModel.from_pretrained(made.path)


def test_variants_are_told_apart(one: Tuned, registry: Registry, tmp_path: Path) -> None:
    """A folder with the weights in full and in half precision: both are kept, as they were."""
    for label, source in (("base", one.base), ("tuned", one.tuned)):
        unet = UNet2DConditionModel.from_pretrained(source / "unet")
        unet.save_pretrained(tmp_path / label)
        unet.half().save_pretrained(tmp_path / label, variant="fp16")
    registry.add_base("base", tmp_path / "base")
    added = registry.add(tmp_path / "tuned", base="base", name="subject")
    made = registry.materialize("subject", tmp_path / "made")
    assert paths(made.path) == paths(tmp_path / "tuned")
    half = UNet2DConditionModel.from_pretrained(made.path, variant="fp16", dtype=torch.float16)
    assert half.dtype == torch.float16
    kinds = {row.kind for row in registry.report(added.ref).tensors}
    assert "raw" not in kinds
