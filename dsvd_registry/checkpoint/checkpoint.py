"""The interface of every checkpoint, whatever its format: named tensors, read one at a time."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..errors import CheckpointError, InvalidArgument
from ..hashing import sha256
from ..threads import in_order, threads
from .mapping import MappedFile
from .tensor_info import Fingerprint, TensorInfo
from .tree import Tree

MAX_TENSORS = 2**20
MAX_NAME_BYTES = 4096
MAX_DIMENSIONS = 32
MAX_DIMENSION = 2**53  # exclusive: every dimension is exact as a JSON number everywhere
AHEAD = 256  # tensors that may be in work at once


Memory = npt.NDArray[np.uint8]
Copier = Callable[[int, Memory], None]
"""Fills memory with a tensor's bytes, given the number of the first byte and the memory."""


@dataclass(frozen=True)
class LeftOut:
    """Something in the file that is left out of its state dict, and the reason."""

    name: str
    reason: str


class Checkpoint(Closing):
    """An open checkpoint: a context manager over a file, or over a folder.

    `tensors` has every tensor of the state dict in the file's order; `header` is the JSON of a
    safetensors file exactly as it stands (without its 8-byte length), None for others; `tree` has
    the files of a folder, None for a single file.
    """

    format: Literal["safetensors", "pickle", "diffusers"]
    tensors: Mapping[str, TensorInfo]
    header: bytes | None
    left_out: tuple[LeftOut, ...]
    tree: Tree | None
    path: Path

    @property
    def variants(self) -> Mapping[str, str]:
        """The variants of a folder's weights: the prefix of the main weights by that of each variant.

        For example `{"unet/model.fp16/": "unet/"}`.
        """
        variants = {}
        for file in () if self.tree is None else self.tree.tensors:
            folder, slash, _ = file.path.rpartition("/")
            if file.prefix != folder + slash:
                variants[file.prefix] = folder + slash
        return variants

    @abc.abstractmethod
    def read(self, name: str) -> memoryview:
        """The tensor's bytes (format "B"), little-endian, in C order, read-only.

        They are a view of the mapped file, at any alignment, where the tensor is contiguous there,
        and a copy where it is not.

        Raises:
            KeyError: for an unknown name.
            CheckpointError: if the file's own checksum does not match.
        """

    def copier(self, name: str) -> Copier:
        """A function that copies a part of the tensor's bytes, faster than from `read(name)`.

        Several threads may use it. It raises what `read` raises, and `StorageError`.
        """
        data = np.frombuffer(self.read(name), np.uint8) if self.tensors[name].nbytes else None

        def copy(first: int, memory: Memory) -> None:
            if data is not None:
                memory[:] = data[first : first + len(memory)]

        return copy

    @abc.abstractmethod
    def release(self, name: str) -> None:
        """Give the memory behind `read(name)` back to the system; its views stay valid."""

    def fingerprints(self, progress: Callable[[int], None] | None = None) -> list[Fingerprint]:
        """The fingerprint of every tensor, in the order of `tensors`. Several threads hash.

        `progress` is called with the number of bytes hashed since the last call.
        Raises `CheckpointError` as `read` does.
        """
        fingerprints = []
        infos = self.tensors.values()
        with threads() as pool:
            hashed = in_order(pool, self._fingerprint, infos, size=lambda _: 1, at_once=AHEAD)
            for info, fingerprint in zip(infos, hashed, strict=True):
                fingerprints.append(fingerprint)
                if progress is not None:
                    progress(info.nbytes)
        return fingerprints

    def _fingerprint(self, info: TensorInfo) -> Fingerprint:
        digest = sha256(self.read(info.name))
        self.release(info.name)
        return Fingerprint(info.name, info.dtype, info.shape, digest)

    @abc.abstractmethod
    def close(self) -> None:
        """Close the file. Views that `read` gave stay valid until they are dropped."""


class CheckpointFile(Checkpoint):
    """A checkpoint that is one mapped file."""

    format: Literal["safetensors", "pickle"]
    tree = None

    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self.path = file.path

    def close(self) -> None:
        self._file.close()


def check_name(name: str) -> None:
    """Raise `CheckpointError` unless `name` is 1 to 4096 bytes of UTF-8 without a NUL."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise CheckpointError(f"the tensor name {shown(name)} is not valid Unicode") from error
    if not 1 <= size <= MAX_NAME_BYTES:
        raise CheckpointError(
            f"the tensor name {shown(name)} has {size} bytes, not 1 to {MAX_NAME_BYTES}"
        )
    if "\0" in name:
        raise CheckpointError(f"the tensor name {shown(name)} holds a NUL")


def check_shape(name: str, shape: tuple[object, ...]) -> tuple[int, ...]:
    """Return `shape` if it has at most 32 integers, all from 0 to 2**53 - 1.

    Raises `CheckpointError` for any other.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(
            f"tensor {shown(name)} has {len(shape)} dimensions, more than {MAX_DIMENSIONS}"
        )
    checked = []
    for length in shape:
        # `type` and not `isinstance`: True is no dimension.
        if type(length) is not int or not 0 <= length < MAX_DIMENSION:
            raise CheckpointError(f"tensor {shown(name)} has a dimension that is not in 0..2**53-1")
        checked.append(length)
    return tuple(checked)


def check_count(count: int) -> None:
    """Raise `CheckpointError` for more than 2**20 tensors."""
    if count > MAX_TENSORS:
        raise CheckpointError(f"it has {count} tensors, more than {MAX_TENSORS}")


def shown(name: str) -> str:
    """Quote `name` for a message: escaped where it does not print, cut where it is too long."""
    return ascii(name) if len(name) <= 200 else ascii(name[:200]) + "..."


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put `path` before the message of a `CheckpointError` or `InvalidArgument` raised inside."""
    try:
        yield
    except (CheckpointError, InvalidArgument) as error:
        raise type(error)(f"{path}: {error}", error.hint) from error
