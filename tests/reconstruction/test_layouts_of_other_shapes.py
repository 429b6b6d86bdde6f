"""A layout with other shapes than the version's: its own vocabulary is written, or nothing at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from layouts.pipelines import PIPELINES, models, randomised, single_file
from layouts.training import trained
from registry.conftest import files_in
from safetensors.torch import load_file, save_file
from trained_pair import one_thread
from transformers import CLIPTextModel

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

TABLE = "embeddings.token_embedding.weight"
ROWS = 40  # of the version's vocabulary
PREFIX = "cond_stage_model.transformer.text_model."
OUTPUT, INPUT = "unet/diffusion_pytorch_model.safetensors", "conv_in.weight"


@dataclass(frozen=True)
class Made:
    """A registry with `subject`, lossy, and `whole`, lossless, both in the original layout."""

    registry: Registry
    source: dict[str, torch.Tensor]
    folder: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Bases: `file`, and folders named for what differs in them."""
    folder = tmp_path_factory.mktemp("shapes")
    with one_thread():
        pipeline = PIPELINES["sd1"]()
        with torch.no_grad():
            for model in models(randomised(pipeline)).values():
                for parameter in model.parameters():
                    parameter.mul_(0.05)
        pipeline.save_pretrained(folder / "plain")
        original(pipeline, folder / "file.safetensors")
        for name, rows in (("wide", ROWS + 2), ("narrow", ROWS - 3)):
            with_rows(shutil.copytree(folder / "plain", folder / name), rows)
        for name, change in (("eight", {"out_channels": 8}), ("nine", {"in_channels": 9})):
            unet = UNet2DConditionModel(**{**pipeline.unet.config, **change})
            unet.save_pretrained(shutil.copytree(folder / "plain", folder / name) / "unet")
        trained(pipeline)
        original(pipeline, folder / "subject.safetensors")
        registry = Registry.init(folder / "registry")
        registry.add_base("file", folder / "file.safetensors")
        for name in ("plain", "wide", "narrow", "eight", "nine"):
            registry.add_base(name, folder / name)
        registry.add(folder / "subject.safetensors", base="file", name="subject", tau=0.9)
        registry.add(folder / "subject.safetensors", base="file", name="whole", lossless=True)
    return Made(registry, load_file(folder / "subject.safetensors"), folder)


def original(pipeline: DiffusionPipeline, path: Path) -> None:
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    save_file({n: t.detach().clone() for n, t in single_file("sd1", states).items()}, path)


def with_rows(place: Path, rows: int) -> None:
    encoder = CLIPTextModel.from_pretrained(place / "text_encoder")
    encoder.resize_token_embeddings(rows)
    encoder.save_pretrained(place / "text_encoder")


def truth(made: Made, ref: str) -> dict[str, torch.Tensor]:
    """The version's text encoder, in the names of transformers."""
    if ref == "whole":
        found = made.source
    else:
        with made.registry.tensors(ref) as tensors:
            found = {name: tensors[name].clone() for name in tensors}
    return {n.removeprefix(PREFIX): t for n, t in found.items() if n.startswith(PREFIX)}


@pytest.mark.parametrize("like", ["plain", "wide", "narrow"])
@pytest.mark.parametrize("ref", ["subject", "whole"])
@pytest.mark.parametrize("dtype", [None, "fp16"])
def test_the_vocabulary_is_the_version_s(
    made: Made, tmp_path: Path, like: str, ref: str, dtype: str | None
) -> None:
    written = made.registry.materialize(
        ref, tmp_path / "out", layout="diffusers", like=like, dtype=dtype
    )
    with one_thread():
        pipeline = DiffusionPipeline.from_pretrained(
            written.path, tokenizer=None, feature_extractor=None, local_files_only=True
        )
    loaded = pipeline.text_encoder.state_dict()
    for name, tensor in truth(made, ref).items():
        wanted = tensor if dtype is None else tensor.half()
        assert torch.equal(loaded[f"{name}"].to(wanted.dtype), wanted), name
    own = json.loads((written.path / "text_encoder" / "config.json").read_text())
    theirs = json.loads((made.folder / like / "text_encoder" / "config.json").read_text())
    assert own == theirs | {"vocab_size": ROWS}
    said = [(one.path, one.key, one.before, one.after) for one in written.adjusted]
    changed = ("text_encoder/config.json", "vocab_size", theirs["vocab_size"], ROWS)
    assert said == ([] if like == "plain" else [changed])
    whole = {str(path.relative_to(written.path)) for path in written.path.rglob("*.*")}
    assert written.size == sum((written.path / path).stat().st_size for path in whole)


@pytest.mark.parametrize(
    ("like", "tensor", "shapes"),
    [
        ("eight", "unet/conv_out.", ("[4, 8, 3, 3]", "[8, 8, 3, 3]")),
        ("nine", "unet/conv_in.weight", ("[8, 4, 3, 3]", "[8, 9, 3, 3]")),
    ],
)
@pytest.mark.parametrize("wish", [{}, {"dtype": "bf16"}, {"tau": 0.5}])
@pytest.mark.parametrize("ref", ["subject", "whole"])
def test_another_model_is_refused(
    made: Made, tmp_path: Path, like: str, tensor: str, shapes: tuple[str, str], wish, ref: str
) -> None:
    if ref == "whole":
        wish = {name: value for name, value in wish.items() if name != "tau"}
    with pytest.raises(InvalidArgument) as caught:
        made.registry.materialize(ref, tmp_path / "out", layout="diffusers", like=like, **wish)
    assert tensor in str(caught.value)
    if "weight" in str(caught.value):
        assert all(shape in str(caught.value) for shape in shapes)
    assert "--like" in caught.value.hint
    assert files_in(tmp_path) == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ['{"vocab_size": 7}', "[]", "{", "[" * 3000])
def test_a_configuration_that_cannot_say_it(made: Made, tmp_path: Path, text: str) -> None:
    name = f"with-{len(text)}"
    place = shutil.copytree(made.folder / "plain", tmp_path / name)
    with_rows(place, ROWS + len(text) % 9 + 3)
    (place / "text_encoder" / "config.json").write_text(text)
    made.registry.add_base(name, place)
    with pytest.raises(InvalidArgument, match=r"text_encoder/config\.json"):
        made.registry.materialize("subject", tmp_path / "out", layout="diffusers", like=name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("channels", [4, 9])
def test_a_single_file_has_the_version_s_shapes(made: Made, tmp_path: Path, channels: int) -> None:
    """A fine-tune of an inpainting model in diffusers' layout, over a file of the plain one."""
    like = "nine" if channels == 9 else "wide"
    made.registry.add(made.folder / like, base="file", name=f"of-{like}", tau=1.0)
    written = made.registry.materialize(
        f"of-{like}", tmp_path / "out.safetensors", layout="single-file"
    )
    result = load_file(written.path)
    unet = load_file(made.folder / like / OUTPUT)
    conv = result["model.diffusion_model.input_blocks.0.0.weight"]
    assert conv.shape == (8, channels, 3, 3)
    assert torch.equal(conv, unet[INPUT])
    table = result[PREFIX + TABLE]
    expected = load_file(made.folder / like / "text_encoder" / "model.safetensors")
    (wanted,) = (tensor for name, tensor in expected.items() if name.endswith(TABLE))
    assert torch.equal(table, wanted)
    assert not {name for name in written.left_out if "conv_in" in name or "token" in name}
