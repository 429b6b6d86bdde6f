"""Checkpoints in folders: their own files, the names of tensors, and refused folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.checkpoint.checkpoint import LeftOut
from dsvd_registry.checkpoint.folder import FolderCheckpoint, files_below, is_checkpoint_folder
from dsvd_registry.checkpoint.tree import ListedFile
from dsvd_registry.errors import CheckpointError, StorageError

WEIGHTS = "diffusion_pytorch_model"


def tensors(*names: str) -> bytes:
    """Write a safetensors file, whose tensors have values by their names."""
    return save({name: np.frombuffer(name.encode(), np.uint8) for name in names})


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


PIPELINE = {
    "model_index.json": b"{}",
    "scheduler/scheduler_config.json": b"{}\n",
    "tokenizer/vocab.json": b'{"a": 0}',
    f"unet/{WEIGHTS}.safetensors": tensors("conv.weight", "conv.bias"),
    "unet/config.json": b"",
    "text_encoder/model.safetensors": tensors("conv.weight"),
}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return write(tmp_path / "pipeline", PIPELINE)


def names_of(folder: Path) -> set[str]:
    with open_checkpoint(folder) as checkpoint:
        return set(checkpoint.tensors)


def left_out_of(folder: Path) -> dict[str, str]:
    with open_checkpoint(folder) as checkpoint:
        return {entry.name: entry.reason for entry in checkpoint.left_out}


def test_what_a_folder_holds(pipeline: Path) -> None:
    with open_checkpoint(pipeline) as checkpoint:
        assert isinstance(checkpoint, FolderCheckpoint)
        assert (checkpoint.format, checkpoint.path) == ("diffusers", pipeline)
        assert (checkpoint.header, checkpoint.left_out) == (None, ())
        own = {"unet/conv.weight", "unet/conv.bias", "text_encoder/conv.weight"}
        assert set(checkpoint.tensors) == own
        for name in own:
            assert bytes(checkpoint.read(name)) == name.split("/")[1].encode()
            assert (checkpoint.tensors[name].name, checkpoint.tensors[name].dtype) == (name, "U8")
            checkpoint.release(name)
        tree = checkpoint.tree
        assert [(file.path, file.prefix) for file in tree.tensors] == [
            ("text_encoder/model.safetensors", "text_encoder/"),
            (f"unet/{WEIGHTS}.safetensors", "unet/"),
        ]
        data = PIPELINE[f"unet/{WEIGHTS}.safetensors"]
        assert tree.tensors[1].header == data[8 : 8 + int.from_bytes(data[:8], "little")]
        assert tree.others == tuple(
            ListedFile(path, hashlib.sha256(data).hexdigest(), len(data))
            for path, data in sorted(PIPELINE.items())
            if not path.endswith(".safetensors")
        )
        assert tree.places == {path: pipeline / path for path in PIPELINE}
        assert tree.homes == {
            "text_encoder/conv.weight": "text_encoder/model.safetensors",
            "unet/conv.bias": f"unet/{WEIGHTS}.safetensors",
            "unet/conv.weight": f"unet/{WEIGHTS}.safetensors",
        }


def test_copied_from_the_right_file(pipeline: Path) -> None:
    with open_checkpoint(pipeline) as checkpoint:
        found = {one.name: one.sha256 for one in checkpoint.fingerprints()}
        for name in checkpoint.tensors:
            own = name.split("/")[1].encode()
            assert found[name] == hashlib.sha256(own).hexdigest()
            copied = np.empty(len(own) - 1, np.uint8)
            checkpoint.copier(name)(1, copied)
            assert copied.tobytes() == own[1:]


@pytest.mark.parametrize(
    ("files", "is_one"),
    [
        ({"model_index.json": b"{}"}, True),
        ({"config.json": b"{}", f"{WEIGHTS}.safetensors": b""}, True),
        ({"config.json": b"{}", f"{WEIGHTS}.safetensors.index.json": b""}, True),
        ({"config.json": b"{}"}, False),
        ({"config.json": b"{}", f"{WEIGHTS}.bin": b""}, False),
        ({f"{WEIGHTS}.safetensors": b""}, False),
        ({"unet/config.json": b"{}", f"unet/{WEIGHTS}.safetensors": b""}, False),
        ({}, False),
    ],
)
def test_which_folders_are_checkpoints(
    tmp_path: Path, files: Mapping[str, bytes], is_one: bool
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert is_checkpoint_folder(write(folder, files)) == is_one


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    assert not is_checkpoint_folder(write(tmp_path, {"x": b""}) / "x")
    assert not is_checkpoint_folder(tmp_path / "nothing")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, StorageError)):
        open_checkpoint(write(tmp_path, {"x.safetensors": tensors("a")}))


def test_a_sub_model(pipeline: Path) -> None:
    assert names_of(pipeline / "unet") == {"conv.weight", "conv.bias"}


def test_a_pipeline_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="without a safetensors file"):
        open_checkpoint(write(tmp_path, {"model_index.json": b"{}"}))


def test_shards_have_one_prefix(tmp_path: Path) -> None:
    files = {
        "model_index.json": b"{}",
        "unet/model-00001-of-00002.safetensors": tensors("a"),
        "unet/model-00002-of-00002.safetensors": tensors("b"),
        "unet/model.safetensors.index.json": b"{}",
    }
    with open_checkpoint(write(tmp_path, files)) as checkpoint:
        assert set(checkpoint.tensors) == {"unet/a", "unet/b"}
        assert [file.prefix for file in checkpoint.tree.tensors] == ["unet/", "unet/"]
        assert bytes(checkpoint.read("unet/b")) == b"b"
        assert "unet/model.safetensors.index.json" in {file.path for file in checkpoint.tree.others}


def test_two_shards_with_one_tensor(tmp_path: Path) -> None:
    files = {
        "model_index.json": b"{}",
        "unet/model-00001-of-00002.safetensors": tensors("a", "b"),
        "unet/model-00002-of-00002.safetensors": tensors("b"),
    }
    with pytest.raises(CheckpointError, match=r"00002-of-00002\.safetensors has the tensor 'b'"):
        open_checkpoint(write(tmp_path, files))


def test_variants_have_prefixes_of_their_own(tmp_path: Path) -> None:
    """The shortest name gets the folder's prefix, so that tensors without a variant keep their names."""
    files = {
        "model_index.json": b"{}",
        "unet/model.safetensors": tensors("a"),
        "unet/model.fp16.safetensors": tensors("a"),
        "unet/model.non_ema-00001-of-00001.safetensors": tensors("a"),
        "vae/model.fp16.safetensors": tensors("a"),
    }
    expected = {"unet/a", "unet/model.fp16/a", "unet/model.non_ema/a", "vae/a"}
    assert names_of(write(tmp_path, files)) == expected


def test_names_that_meet(tmp_path: Path) -> None:
    """A tensor of one file has the name of a tensor of another file with its prefix."""
    files = {
        "model_index.json": b"{}",
        "model.safetensors": tensors("unet/a"),
        "unet/model.safetensors": tensors("a"),
    }
    with pytest.raises(CheckpointError, match="and so has another file"):
        open_checkpoint(write(tmp_path, files))


def test_links_to_files_are_followed(pipeline: Path, tmp_path: Path) -> None:
    """The hub's cache has nothing but links."""
    blobs = tmp_path / "blobs"
    linked = tmp_path / "snapshot"
    for number, (path, data) in enumerate(PIPELINE.items()):
        write(blobs, {str(number): data})
        (linked / path).parent.mkdir(parents=True, exist_ok=True)
        (linked / path).symlink_to(blobs / str(number))
    with open_checkpoint(linked) as found, open_checkpoint(pipeline) as expected:
        assert found.left_out == ()
        assert found.tree.others == expected.tree.others
        assert found.tree.tensors == expected.tree.tensors
        assert bytes(found.read("unet/conv.bias")) == b"conv.bias"


def test_links_to_folders_are_not_followed(pipeline: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"secret.json": b"{}", "model.safetensors": tensors("x")})
    (pipeline / "vae").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (pipeline / "unet" / "round").symlink_to(pipeline, target_is_directory=True)
    assert set(left_out_of(pipeline)) == {"vae", "unet/round"}
    assert not any("vae" in name or "round" in name for name in names_of(pipeline))


def test_what_cannot_be_read(pipeline: Path) -> None:
    os.mkfifo(pipeline / "unet" / "pipe")
    reason = "a hidden folder, a link to a folder, or nothing that can be read"
    assert left_out_of(pipeline) == {"unet/pipe": reason}


@pytest.mark.parametrize("path", ["gone.json", f"unet/{WEIGHTS}.safetensors", "tokenizer/a.txt"])
def test_links_to_nothing_are_refused(pipeline: Path, path: str) -> None:
    """The hub's cache has broken links if a blob is gone: the folder is incomplete."""
    (pipeline / path).unlink(missing_ok=True)
    (pipeline / path).symlink_to(pipeline / "nothing")
    with pytest.raises(CheckpointError, match=f"'{path}' is a broken link"):
        open_checkpoint(pipeline)


def test_hidden_folders_are_left_out(pipeline: Path) -> None:
    write(pipeline, {".git/HEAD": b"ref", "unet/.cache/x.json": b"{}", "unet/.gitattributes": b"*"})
    assert set(left_out_of(pipeline)) == {".git", "unet/.cache"}
    with open_checkpoint(pipeline) as checkpoint:
        assert "unet/.gitattributes" in {file.path for file in checkpoint.tree.others}


def test_temporary_files_are_left_out(pipeline: Path) -> None:
    write(pipeline, {"unet/.dsvd-tmp-0": b"half"})
    assert set(left_out_of(pipeline)) == {"unet/.dsvd-tmp-0"}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "model.bin",
            "Model.CKPT",
            "x.pt",
            "x.pth",
            "x.onnx",
            "x.onnx_data",
            "flax_model.msgpack",
        ),
        *("tf_model.h5", "x.pb", "x.gguf", "model.bin.index.json"),
    ],
)
def test_weights_in_another_form(pipeline: Path, name: str) -> None:
    """They are left out next to safetensors, and refused where the folder has nothing else."""
    write(pipeline, {f"unet/{name}": b"weights"})
    reason = "weights in another form than safetensors"
    with open_checkpoint(pipeline) as checkpoint:
        assert checkpoint.left_out == (LeftOut(f"unet/{name}", reason),)
        assert f"unet/{name}" not in checkpoint.tree.places
    write(pipeline, {f"vae/{name}": b"weights"})
    with pytest.raises(
        CheckpointError, match=r"vae/.* has weights, and vae has no safetensors"
    ) as caught:
        open_checkpoint(pipeline)
    assert "safe_serialization=True" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["a\\b", "a:b", "a?", "a.", "a\x01", "a "])
def test_paths_that_not_every_system_takes(pipeline: Path, name: str) -> None:
    write(pipeline, {f"unet/{name}": b""})
    with pytest.raises(CheckpointError, match=r"pipeline.*the path 'unet/"):
        open_checkpoint(pipeline)


def test_a_path_that_is_no_unicode(pipeline: Path) -> None:
    Path(os.fsdecode(os.fsencode(pipeline) + b"/\xff")).write_bytes(b"")
    with pytest.raises(CheckpointError, match="not valid Unicode"):
        open_checkpoint(pipeline)


@pytest.mark.parametrize("data", [b"", b"version https://git-lfs", tensors("a")[:-1]])
def test_a_broken_file(pipeline: Path, data: bytes) -> None:
    write(pipeline, {"unet/more.safetensors": data})
    with pytest.raises(CheckpointError, match=r"more\.safetensors"):
        open_checkpoint(pipeline)


def test_too_long_a_name(tmp_path: Path) -> None:
    """A name has 4096 bytes in its file, and more in the whole checkpoint."""
    files = {"model_index.json": b"{}", "unet/model.safetensors": tensors("a" * 4096)}
    with pytest.raises(CheckpointError, match="4101 bytes, not 1 to 4096"):
        open_checkpoint(write(tmp_path, files))


def test_a_name_that_is_no_text_is_refused_where_it_is_left_out_too(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(save({"w": np.zeros(1)}))
    (tmp_path / os.fsdecode(b"weights-\xff.bin")).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="not valid Unicode"):
        files_below(tmp_path)
