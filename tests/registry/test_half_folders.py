"""Folders that are not whole are refused by what they lack; links to sub-models are followed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry
from dsvd_registry.errors import CheckpointError, StorageError

from .hub_folders import UNET, assert_same, bytes_in, copied, loaded, make_pair, shard_unet

INDEX = f"{UNET}.safetensors.index.json"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_pair(tmp_path_factory.mktemp("half"))


@pytest.fixture
def registry(tmp_path: Path, pair: tuple[Path, Path]) -> Registry:
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", pair[0])
    return registry


@pytest.fixture
def tuned(tmp_path: Path, pair: tuple[Path, Path]) -> Path:
    """A copy to spoil."""
    return copied(pair[1], tmp_path / "mine")


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "unet").glob("*-of-*.safetensors"))


def without_a_shard(folder: Path) -> str:
    shard_unet(folder)
    gone = shards(folder)[1]
    gone.unlink()
    return gone.name


def without_any_shard(folder: Path) -> str:
    shard_unet(folder)
    for shard in shards(folder):
        shard.unlink()
    return INDEX


def without_index_and_shard(folder: Path) -> str:
    (folder / "unet" / INDEX).unlink(missing_ok=True)
    gone = without_a_shard(folder)
    (folder / "unet" / INDEX).unlink()
    return gone


def half_an_index(folder: Path) -> str:
    shard_unet(folder)
    index = folder / "unet" / INDEX
    index.write_bytes(index.read_bytes()[:-9])
    return INDEX


def tensor_gone(folder: Path) -> str:
    shard_unet(folder)
    shard = shards(folder)[0]
    tensors = load_file(shard)
    name = sorted(tensors)[0]
    save_file({n: t for n, t in tensors.items() if n != name}, shard)
    return name


def link_to_nothing(folder: Path) -> str:
    weights = folder / "unet" / f"{UNET}.safetensors"
    weights.unlink()
    weights.symlink_to(Path("..", "..", "..", "blobs", "0" * 64))
    return f"unet/{weights.name}"


def configuration_to_nothing(folder: Path) -> str:
    (folder / "vae" / "config.json").unlink()
    (folder / "vae" / "config.json").symlink_to("gone")
    return "vae/config.json"


def index_to_nothing(folder: Path) -> str:
    (folder / "model_index.json").unlink()
    (folder / "model_index.json").symlink_to("gone")
    return "model_index.json"


def no_weights(folder: Path) -> str:
    (folder / "text_encoder" / "model.safetensors").unlink()
    return "text_encoder has no weights"


def unfinished(folder: Path) -> str:
    weights = folder / "vae" / f"{UNET}.safetensors"
    weights.rename(weights.with_name(weights.name + ".incomplete"))
    return f"{weights.name}.incomplete"


def pickles_alone(folder: Path) -> str:
    weights = folder / "vae" / f"{UNET}.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    return f"vae/{UNET}.bin"


def no_sub_model(folder: Path) -> str:
    shutil.rmtree(folder / "vae")
    return "vae"


def no_scheduler(folder: Path) -> str:
    shutil.rmtree(folder / "scheduler")
    return "scheduler"


def sub_model_to_nothing(folder: Path) -> str:
    shutil.rmtree(folder / "vae")
    (folder / "vae").symlink_to("../gone")
    return "vae"


WAYS: list[Callable[[Path], str]] = [
    without_a_shard,
    without_any_shard,
    without_index_and_shard,
    half_an_index,
    tensor_gone,
    link_to_nothing,
    configuration_to_nothing,
    index_to_nothing,
    no_weights,
    unfinished,
    pickles_alone,
    no_sub_model,
    no_scheduler,
    sub_model_to_nothing,
]


@pytest.mark.parametrize("spoil", WAYS)
def test_refused_by_what_it_lacks(tuned: Path, registry: Registry, spoil) -> None:
    """It is refused as a fine-tune, as a base and among many files; nothing of it is stored."""
    missing = spoil(tuned)
    for add in (
        lambda: registry.add(tuned, base="base", name="subject", lossless=True),
        lambda: registry.add_base("other", tuned),
    ):
        with pytest.raises(CheckpointError) as caught:
            add()
        assert missing in str(caught.value)
        assert caught.value.exit_code == 5
        assert caught.value.hint
    many = registry.add_many([tuned, tuned.parent / "mine" / "model_index.json"], base="base")
    assert [file.outcome for file in many.files] == ["refused", "refused"]
    assert missing in many.files[0].refusal.message
    assert many.safe_to_delete == ()
    assert [base.name for base in registry.bases()] == ["base"]
    assert registry.versions() == []


def test_a_sub_model_alone(tuned: Path, registry: Registry) -> None:
    gone = without_a_shard(tuned)
    with pytest.raises(CheckpointError, match=gone):
        registry.add(tuned / "unet", base="base")


def test_whole_shards(tuned: Path, registry: Registry, tmp_path: Path) -> None:
    expected = bytes_in(shard_and_back(tuned))
    added = registry.add(tuned, base="base", name="subject", lossless=True)
    made = registry.materialize(added.ref, tmp_path / "made").path
    assert bytes_in(made) == expected
    assert_same(loaded(made), loaded(tuned))


def shard_and_back(folder: Path) -> Path:
    shard_unet(folder)
    assert len(shards(folder)) > 2
    return folder


def test_a_stale_index_beside_a_whole_file(tuned: Path, registry: Registry, tmp_path: Path) -> None:
    """Left out, and said: diffusers would go by it, and find no shard."""
    expected = loaded(tuned)
    whole = bytes_in(tuned)
    names = {"conv_in.weight": f"{UNET}-00001-of-00002.safetensors"}
    (tuned / "unet" / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(OSError, match="00001-of-00002"):
        loaded(tuned)
    many = registry.add_many([tuned, tuned / "none"], base="base", lossless=True)
    assert {entry.name for entry in many.files[0].left_out} == {f"unet/{INDEX}"}
    assert many.safe_to_delete == ()  # not all of it comes back
    made = registry.materialize(many.files[0].ref, tmp_path / "made").path
    assert bytes_in(made) == whole
    assert_same(loaded(made), expected)


def test_a_single_file_beside_whole_shards(tuned: Path, registry: Registry, tmp_path: Path) -> None:
    """Diffusers takes the shards; the file is of another model here, so that it shows."""
    base_unet = load_file(tuned / "unet" / f"{UNET}.safetensors")
    shard_unet(tuned)
    save_file({n: t + 1 for n, t in base_unet.items()}, tuned / "unet" / f"{UNET}.safetensors")
    expected = loaded(tuned)
    added = registry.add(tuned, base="base", name="subject", lossless=True)
    made = registry.materialize(added.ref, tmp_path / "made").path
    assert_same(loaded(made), expected)
    assert not (made / "unet" / f"{UNET}.safetensors").exists()
    report = registry.report(added.ref)
    assert [entry.name for entry in report.left_out] == [f"unet/{UNET}.safetensors"]


def test_a_tensor_that_shares_its_memory(tuned: Path, registry: Registry, tmp_path: Path) -> None:
    """If a conversion stored one of two tied tensors, the index still names both."""
    shard_unet(tuned)
    shard = shards(tuned)[0]
    tensors = load_file(shard)
    kept, tied = sorted(tensors)[:2]
    del tensors[tied]
    save_file(tensors, shard, metadata={"format": "pt", tied: kept})
    registry.add(tuned, base="base", name="subject", lossless=True)
    made = registry.materialize("subject", tmp_path / "made").path
    assert bytes_in(made) == bytes_in(tuned)
    assert tied not in load_file(made / "unet" / shard.name)


def test_a_linked_sub_model(tuned: Path, registry: Registry, tmp_path: Path) -> None:
    """Followed as diffusers does; what comes back is a plain folder of the same files."""
    (tmp_path / "other").mkdir()
    (tuned / "vae").rename(tmp_path / "other" / "vae")
    (tuned / "vae").symlink_to(Path("..", "other", "vae"), target_is_directory=True)
    (tmp_path / "other" / "vae" / "back").symlink_to(tuned, target_is_directory=True)
    expected = loaded(tuned)
    many = registry.add_many([tuned, tmp_path / "none"], base="base", lossless=True)
    assert {entry.name for entry in many.files[0].left_out} == {"vae/back"}
    (tmp_path / "other" / "vae" / "back").unlink()
    many = registry.add_many([tuned, tmp_path / "none"], base="base", lossless=True)
    assert many.safe_to_delete == (tuned,)
    whole = bytes_in(tuned)
    (tuned / "vae").unlink()
    made = registry.materialize(many.files[0].ref, tmp_path / "made").path
    assert not (made / "vae").is_symlink()
    assert bytes_in(made) == whole
    assert_same(loaded(made), expected)


def test_a_linked_sub_model_that_changes_meanwhile(
    tuned: Path, registry: Registry, tmp_path: Path
) -> None:
    vae = (tuned / "vae").rename(tmp_path / "vae")
    (tuned / "vae").symlink_to(vae, target_is_directory=True)

    def change(stage: str, done: int, total: int) -> None:
        weights = load_file(vae / f"{UNET}.safetensors")
        save_file({n: t + 1 for n, t in weights.items()}, vae / f"{UNET}.safetensors")

    with pytest.raises(StorageError, match="changed"):
        registry.add(tuned, base="base", name="subject", progress=change)
    assert registry.versions() == []


@pytest.mark.parametrize("target", [".", "..", "/", "plain"])
def test_a_link_that_leads_elsewhere(
    tuned: Path, registry: Registry, tmp_path: Path, target: str
) -> None:
    """To a folder that it lies in, and to one that is no sub-model's."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "id_rsa").write_text("secret")
    shutil.rmtree(tuned / "vae")
    (tuned / "vae").symlink_to(tmp_path / "plain" if target == "plain" else target)
    with pytest.raises(CheckpointError, match="vae is a link to"):
        registry.add(tuned, base="base", name="subject")


def test_a_component_at_the_top(tuned: Path, registry: Registry, tmp_path: Path) -> None:
    """A model whose folder is not there is loaded from the top, with its scheduler."""
    folder = tmp_path / "flat"
    shutil.copytree(tuned / "unet", folder)
    shutil.copy(tuned / "scheduler" / "scheduler_config.json", folder)
    index = {
        "_class_name": "DDPMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    registry.add(folder, base="base", name="subject", lossless=True)
    made = registry.materialize("subject", tmp_path / "made").path
    assert bytes_in(made) == bytes_in(folder)
