"""The tensors of a fine-tune itself, from its file or from a lossless version."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..checkpoint import TensorInfo, open_checkpoint
from ..checkpoint.checkpoint import Checkpoint
from ..codec.torch_tensors import TORCH_DTYPES, as_tensor
from ..registry import Registry


@dataclass(frozen=True)
class SourceTensors:
    """Tensors by name. `read` makes one when it is asked for."""

    infos: Mapping[str, TensorInfo]
    read: Callable[[str], torch.Tensor]


@contextlib.contextmanager
def open_source(
    source: Path | str, registry: Registry, entry: str | None = None
) -> Iterator[SourceTensors]:
    """Open a file or folder, or a version by its ref. `entry`: of a torch file that has several.

    Raises as `open_checkpoint` and `Registry.tensors`.
    """
    if isinstance(source, Path):
        with open_checkpoint(source, entry) as checkpoint:
            yield SourceTensors(checkpoint.tensors, lambda name: tensor_of(checkpoint, name))
        return
    infos = infos_of_version(source, registry)
    with registry.tensors(source) as tensors:
        yield SourceTensors(infos, tensors.__getitem__)


def infos_of_version(ref: str, registry: Registry) -> dict[str, TensorInfo]:
    """The names, dtypes and shapes of a version's tensors."""
    with registry.repository.open_container(registry.version(ref)) as container:
        return {
            record.name: TensorInfo(record.name, record.dtype, record.shape)
            for record in container.header.tensors
        }


def tensor_of(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    """A tensor of a checkpoint, in memory of its own. Raises `CheckpointError`."""
    info = checkpoint.tensors[name]
    memory = np.frombuffer(bytearray(checkpoint.read(name)), np.uint8)
    return as_tensor(memory, info.shape, TORCH_DTYPES[info.dtype])
