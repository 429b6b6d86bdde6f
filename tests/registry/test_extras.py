"""Files in a folder that are none of its model's: left out and said, or kept where that is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry
from dsvd_registry.checkpoint.folder import is_checkpoint_folder
from dsvd_registry.errors import InvalidArgument

from .hub_folders import UNET, assert_same, bytes_in, copied, loaded, make_pair


def random_bytes(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_pair(tmp_path_factory.mktemp("extras"))


@pytest.fixture
def registry(tmp_path: Path, pair: tuple[Path, Path]) -> Registry:
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", pair[0])
    return registry


@pytest.fixture
def hub(tmp_path: Path, pair: tuple[Path, Path]) -> Path:
    """A repository as the hub has them, with whatever else its owner put there."""
    folder = copied(pair[1], tmp_path / "hub")
    unet = load_file(folder / "unet" / f"{UNET}.safetensors")
    save_file(unet, folder / "whole.safetensors")
    save_file({"up.lora_A": torch.ones(4, 4)}, folder / "my_lora.safetensors")
    save_file({"w": torch.ones(4, 4)}, folder / "vae" / "other_vae.safetensors")
    for path in EXTRA_FILES:
        (folder / path).parent.mkdir(exist_ok=True, parents=True)
        (folder / path).write_bytes(random_bytes(len(path)))
    (folder / "vae_1_0").mkdir()
    save_file({"w": torch.ones(4, 4)}, folder / "vae_1_0" / f"{UNET}.safetensors")
    for path in KEPT_ANYWAY:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(random_bytes(len(path)))
    return folder


EXTRA_FILES = [
    "model.ckpt",
    "unet/openvino_model.bin",
    "unet/diffusion_pytorch_model.bin",
    "unet/deep/model.onnx",
    "vae_decoder/model.onnx",
    "vae_decoder/config.json",
    "checkpoint-500/optimizer.bin",
    "checkpoint-500/random_states_0.pkl",
    "checkpoint-500/unet/config.json",
    "text_encoder/model.safetensors.incomplete",
]
KEPT_ANYWAY = ["README.md", "unet/openvino_model.xml", "images/cat.png", "scheduler/notes.txt"]
SAID = {
    *("model.ckpt", "whole.safetensors", "my_lora.safetensors", "vae/other_vae.safetensors"),
    *("unet/openvino_model.bin", "unet/diffusion_pytorch_model.bin", "unet/deep/model.onnx"),
    *("vae_decoder", "checkpoint-500", "vae_1_0", "text_encoder/model.safetensors.incomplete"),
}


def is_said(path: str) -> bool:
    return path in SAID or path.partition("/")[0] in SAID


def test_left_out_and_said(hub: Path, pair, registry: Registry, tmp_path: Path) -> None:
    many = registry.add_many([hub, tmp_path / "none"], base="base", lossless=True)
    assert {entry.name for entry in many.files[0].left_out} == SAID
    assert all(entry.reason for entry in many.files[0].left_out)
    assert many.safe_to_delete == ()
    with registry.tensors(many.files[0].ref) as tensors:
        assert {n.replace(".text_model.", ".") for n in tensors} == {
            n.replace(".text_model.", ".") for n in loaded(pair[1])
        }
    made = registry.materialize(many.files[0].ref, tmp_path / "made").path
    expected = {path: data for path, data in bytes_in(hub).items() if not is_said(path)}
    assert set(KEPT_ANYWAY) <= expected.keys()
    assert bytes_in(made) == expected
    assert_same(loaded(made), loaded(pair[1]))
    # What is given back is whole, and the same version.
    assert not registry.add(made, base="base", name="hub", lossless=True).created


def test_kept(hub: Path, registry: Registry, tmp_path: Path) -> None:
    many = registry.add_many([hub, tmp_path / "none"], base="base", lossless=True, keep_extras=True)
    assert many.files[0].left_out == ()
    assert many.safe_to_delete == (hub,)
    made = registry.materialize(many.files[0].ref, tmp_path / "made").path
    assert bytes_in(made) == bytes_in(hub)
    assert not registry.add(hub, base="base", lossless=True, keep_extras=True).created
    assert registry.add(hub, base="base", lossless=True).created  # another version: less of it
    assert registry.verify(deep=True).is_well


def test_kept_with_a_base(hub: Path, registry: Registry, pair, tmp_path: Path) -> None:
    """Its extras are no tensors of it, and what a fine-tune has of them is not stored again."""
    (hub / "model.ckpt").write_bytes(random_bytes(300_000))
    plain = Registry.init(tmp_path / "plain")
    plain.add_base("hub", hub)
    assert {entry.name for entry in plain.left_out(hub)} == SAID
    other = Registry.init(tmp_path / "other")
    other.add_base("hub", hub, keep_extras=True)
    assert other.left_out(hub, keep_extras=True) == ()
    assert other.base("hub").digest == plain.base("hub").digest
    assert other.base_tensors("hub") == plain.base_tensors("hub")
    sizes = {}
    for where in (plain, other):
        added = where.add(hub, base="hub", name="again", keep_extras=True)
        sizes[where] = added.version.size
        made = where.materialize(added.ref, tmp_path / f"made-{len(sizes)}").path
        assert bytes_in(made) == bytes_in(hub)
        assert where.verify(deep=True).is_well
    assert sizes[plain] - sizes[other] > 290_000
    made = other.materialize("again", tmp_path / "x.safetensors", layout="single-file").path
    assert made.exists()
    with pytest.raises(InvalidArgument):
        other.add_base("linked", hub, link=True, keep_extras=True)


def test_a_base_that_was_added_with_all_its_weights(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once every safetensors file of a folder was taken: such a base, and what is over it, is read."""
    from dsvd_registry.checkpoint import folder as module

    base = copied(pair[0], tmp_path / "base")
    extra = {"extra.weight": torch.ones(64, 64)}
    save_file(extra, base / "extra.safetensors")
    tuned = copied(pair[1], tmp_path / "tuned")
    save_file({"extra.weight": extra["extra.weight"] * 2}, tuned / "extra.safetensors")
    for link in (False, True):
        registry = Registry.init(tmp_path / f"registry-{link}")
        with monkeypatch.context() as patch:
            patch.setattr(module, "sort_files", as_once)
            registry.add_base("base", base, link=link)
            registry.add(tuned, base="base", name="subject", tau=1.0)
            expected = bytes_in(registry.materialize("subject", tmp_path / f"once-{link}").path)
        assert "extra.safetensors" in expected
        made = registry.materialize("subject", tmp_path / f"made-{link}").path
        assert bytes_in(made) == expected
        assert registry.verify(deep=True).is_well


def as_once(files):
    from dsvd_registry.checkpoint.folder_sorting import Sorted

    weights = {path: Path(path).stem for path in files if path.endswith(".safetensors")}
    return Sorted(weights, [path for path in files if path not in weights])


def training_state(folder: Path, unet: UNet2DConditionModel) -> Path:
    """A training state of accelerate: the model, its optimizer, schedule and random numbers."""
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(unet.parameters())
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    model, _, _ = accelerator.prepare(unet, optimizer, schedule)
    accelerator.save_state(str(folder))
    assert model is not None
    return folder


def test_a_training_state_of_accelerate(pair, registry: Registry, tmp_path: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(pair[1] / "unet")
    state = training_state(tmp_path / "checkpoint-500", unet)
    assert (state / "model.safetensors").exists() and (state / "optimizer.bin").exists()
    added = registry.add(state, base="base", lossless=True)
    assert added.ref == "checkpoint-500@1"
    report = registry.report(added.ref)
    there = {path.name for path in state.iterdir()}
    assert {entry.name for entry in report.left_out} == there - {"model.safetensors"}
    assert {row.kind for row in report.tensors} <= {"same", "low_rank", "dense"}
    assert added.version.size < (state / "model.safetensors").stat().st_size / 3
    made = registry.materialize(added.ref, tmp_path / "made").path
    assert bytes_in(made) == {"model.safetensors": (state / "model.safetensors").read_bytes()}
    kept = registry.add(state, base="base", lossless=True, keep_extras=True)
    made = registry.materialize(kept.ref, tmp_path / "all").path
    assert bytes_in(made) == bytes_in(state)


def test_a_training_state_of_diffusers(pair, registry: Registry, tmp_path: Path) -> None:
    """A folder for each model, as the example scripts save it, next to the averages."""
    state = tmp_path / "checkpoint-500"
    for name in ("unet", "unet_ema"):
        shutil.copytree(pair[1] / "unet", state / name)
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl", "scaler.pt"):
        (state / name).write_bytes(random_bytes(2000))
    added = registry.add(state, base="base", lossless=True)
    report = registry.report(added.ref)
    assert {row.kind for row in report.tensors} <= {"same", "low_rank", "dense"}
    made = registry.materialize(added.ref, tmp_path / "made").path
    expected = UNet2DConditionModel.from_pretrained(pair[1] / "unet").state_dict()
    for name in ("unet", "unet_ema"):
        assert_same(UNet2DConditionModel.from_pretrained(made / name).state_dict(), expected)


def test_a_training_state_of_a_lora(pair, registry: Registry, tmp_path: Path) -> None:
    """The LoRA merged into the base, as its file alone would be."""
    state = tmp_path / "checkpoint-500"
    state.mkdir()
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    factors = {
        f"{layer}.lora_A.weight": torch.ones(2, 16),
        f"{layer}.lora_B.weight": torch.full((16, 2), 0.125),
    }
    save_file(factors, state / "pytorch_lora_weights.safetensors")
    (state / "optimizer.bin").write_bytes(random_bytes(2000))
    added = registry.add(state, base="base")
    assert [entry.name for entry in registry.report(added.ref).left_out] == ["optimizer.bin"]
    made = loaded(registry.materialize(added.ref, tmp_path / "made").path)
    expected = loaded(pair[0])
    name = layer.replace(".", "/", 1) + ".weight"
    expected[name] = expected[name] + 0.25
    assert made.keys() == expected.keys()
    assert all(torch.allclose(made[n], t, atol=1e-5) for n, t in expected.items())
    for option in ("keep_extras", "lossless"):
        with pytest.raises(InvalidArgument, match="folder of a LoRA"):
            registry.add(state, base="base", **{option: True})


def test_the_output_of_a_training(pair, registry: Registry, tmp_path: Path) -> None:
    """Its checkpoints are left out of the pipeline at its top, and of a sub-model's folder."""
    unet = UNet2DConditionModel.from_pretrained(pair[1] / "unet")
    whole = copied(pair[1], tmp_path / "whole")
    part = copied(pair[1] / "unet", tmp_path / "part")
    for folder in (whole, part):
        before = bytes_in(folder)
        training_state(folder / "checkpoint-500", unet)
        training_state(folder / "checkpoint-1000", unet)
        added = registry.add(folder, base="base", lossless=True)
        left = {entry.name for entry in registry.report(added.ref).left_out}
        assert left == {"checkpoint-500", "checkpoint-1000"}
        made = registry.materialize(added.ref, tmp_path / f"made-{folder.name}").path
        assert bytes_in(made) == before
        assert is_checkpoint_folder(folder / "checkpoint-500")


def test_several_controlnets(pair, registry: Registry, tmp_path: Path) -> None:
    """The further models of a component with several models have numbered folders."""
    import json

    folder = copied(pair[1], tmp_path / "several")
    for name in ("controlnet", "controlnet_1"):
        shutil.copytree(folder / "unet", folder / name)
    index = json.loads((folder / "model_index.json").read_text())
    index["controlnet"] = ["diffusers.models.controlnets", "MultiControlNetModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    added = registry.add(folder, base="base", lossless=True)
    made = registry.materialize(added.ref, tmp_path / "made").path
    assert bytes_in(made) == bytes_in(folder)
    assert registry.report(added.ref).left_out == ()


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("base_has_both", [False, True])
def test_variants(pair, tmp_path: Path, base_has_both: bool, sharded: bool) -> None:
    """The weights in full and in half precision: neither is stored as it is, and both come back."""
    folders = [copied(pair[0] / "unet", tmp_path / "b"), copied(pair[1] / "unet", tmp_path / "t")]
    how = {"max_shard_size": "40KB"} if sharded else {}
    for folder in folders[0 if base_has_both else 1 :]:
        half = UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float16)
        half.save_pretrained(folder, variant="fp16", **how)
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", folders[0])
    added = registry.add(folders[1], base="base", name="subject", lossless=True)
    rows = registry.report(added.ref).tensors
    assert len(rows) == 2 * len(load_file(folders[1] / f"{UNET}.safetensors"))
    assert "raw" not in {row.kind for row in rows}
    made = registry.materialize(added.ref, tmp_path / "made").path
    assert bytes_in(made) == bytes_in(folders[1])
    for variant, dtype in ((None, torch.float32), ("fp16", torch.float16)):
        states = [
            UNet2DConditionModel.from_pretrained(
                folder, variant=variant, torch_dtype=dtype
            ).state_dict()
            for folder in (made, folders[1])
        ]
        assert_same(*states)


def test_a_variant_with_a_shard_missing(pair, registry: Registry, tmp_path: Path) -> None:
    from dsvd_registry.errors import CheckpointError

    folder = copied(pair[1], tmp_path / "t")
    half = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float16)
    half.save_pretrained(folder / "unet", variant="fp16", max_shard_size="40KB")
    shards = sorted((folder / "unet").glob("*fp16*-of-*"))
    shards[-1].unlink()
    with pytest.raises(CheckpointError, match=shards[-1].name):
        registry.add(folder, base="base")
