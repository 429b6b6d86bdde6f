"""Tensors copied in parts: the same bytes as from `read`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dsvd_registry.checkpoint import Checkpoint, mapping, open_checkpoint
from dsvd_registry.errors import CheckpointError, StorageError


def tensors() -> dict[str, torch.Tensor]:
    storage = torch.arange(1000, dtype=torch.float32)
    return {
        "whole": storage,
        "slice": storage[100:200].view(10, 10),
        "transposed": storage[:600].view(20, 30).t(),
        "strided": storage[::7],
        "scalar": torch.tensor(3, dtype=torch.uint8),
        "half": torch.arange(77).half(),
        "empty": torch.zeros(0, 4),
    }


@pytest.fixture(params=["safetensors", "pickle", "legacy"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "safetensors":
        save_file({n: t.contiguous().clone() for n, t in tensors().items()}, tmp_path / "file")
    else:
        torch.save(
            tensors(), tmp_path / "file", _use_new_zipfile_serialization=request.param == "pickle"
        )
    return tmp_path / "file"


def check(checkpoint: Checkpoint) -> None:
    assert checkpoint.tensors.keys() == tensors().keys()
    for name, tensor in tensors().items():
        wanted = tensor.contiguous().numpy().tobytes()
        assert bytes(checkpoint.read(name)) == wanted
        copy = checkpoint.copier(name)
        for first in {0, 1, 5, len(wanted) // 2, len(wanted)}:
            for size in (0, 1, 16, len(wanted) - first):
                memory = np.full(max(0, min(size, len(wanted) - first)), 99, np.uint8)
                copy(first, memory)
                assert memory.tobytes() == wanted[first : first + len(memory)]


def test_any_part_of_any_tensor(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        check(checkpoint)
        with pytest.raises(KeyError):
            checkpoint.copier("none")


def test_where_the_system_lacks_the_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mapping.os, "preadv")
    with open_checkpoint(path) as checkpoint:
        check(checkpoint)


def test_the_system_gives_less_than_was_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = mapping.os.preadv
    monkeypatch.setattr(
        mapping.os,
        "preadv",
        lambda file, buffers, start: preadv(file, [buffers[0][:3]], start),
    )
    with open_checkpoint(path) as checkpoint:
        check(checkpoint)


def test_a_file_that_becomes_shorter(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        copies = [(checkpoint.copier(n), info.nbytes) for n, info in checkpoint.tensors.items()]
        with path.open("r+b") as file:
            file.truncate(100)
        # All but what had to be put together before.
        (whole,) = (copy for copy, nbytes in copies if nbytes == 4000)
        with pytest.raises(StorageError, match="shorter"):
            whole(0, np.empty(4000, np.uint8))


def test_a_closed_file(path: Path) -> None:
    """The descriptor's number may belong to another file by then."""
    with open_checkpoint(path) as checkpoint:
        copy = checkpoint.copier("whole")
    with path.open("rb"), pytest.raises(ValueError, match="closed"):
        copy(0, np.empty(4, np.uint8))


def test_damage_that_the_archive_shows(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(1000.0)}, tmp_path / "file")
    data = bytearray((tmp_path / "file").read_bytes())
    place = data.find(torch.arange(1000.0).numpy().tobytes())
    data[place + 1234] ^= 1
    (tmp_path / "file").write_bytes(data)
    with open_checkpoint(tmp_path / "file") as checkpoint, pytest.raises(CheckpointError):
        checkpoint.copier("w")
