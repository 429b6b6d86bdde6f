"""A base's manifest, and reading of its tensors with every byte checked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..checkpoint import Checkpoint
from ..checkpoint.checkpoint import MAX_TENSORS, Copier, check_name
from ..checkpoint.tensor_info import DTYPES, Fingerprint, tensor_bytes, weights_digest
from ..checkpoint.weight_files import TENSORS
from ..closing import Closing
from ..container.fields import FieldReader, FieldWriter
from ..container.records import BaseTensor
from ..errors import BaseMismatch, CheckpointError, ContainerError, RegistryError
from .checked_bytes import Mismatch, check_bytes, checked_copier

MAGIC = b"DSVDBASE"


@dataclass(frozen=True)
class Manifest:
    """The manifest of a base: the fingerprints of all its tensors."""

    tensors: tuple[Fingerprint, ...]

    @property
    def digest(self) -> str:
        """The weights digest that identifies the base."""
        return weights_digest(self.tensors)

    def to_bytes(self) -> bytes:
        """The magic, then the name, dtype, shape and SHA-256 of each tensor (spec, "Manifests")."""
        fields = FieldWriter()
        fields.uint(len(self.tensors))
        for tensor in self.tensors:
            fields.text(tensor.name)
            fields.code(tensor.dtype, DTYPES)
            fields.shape(tensor.shape)
            fields.digest(tensor.sha256)
        return MAGIC + bytes(fields.data)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Parse a manifest; `where` names it in messages. Raises `RegistryError` for anything else."""
        if not data.startswith(MAGIC):
            raise RegistryError(f"{where} is not the manifest of a base")
        fields = FieldReader(data[len(MAGIC) :], len(data))
        try:
            tensors = fields.entries("tensors", MAX_TENSORS, lambda: _fingerprint(fields))
            fields.end()
        except (ContainerError, CheckpointError) as error:
            raise RegistryError(f"{where} is not the manifest of a base: {error}") from error
        if len({tensor.name for tensor in tensors}) < len(tensors):
            raise RegistryError(f"{where} is not the manifest of a base: a name stands twice")
        return cls(tensors)


def _fingerprint(fields: FieldReader) -> Fingerprint:
    """Read one entry of a manifest. Raises `ContainerError`, `CheckpointError`."""
    name, dtype = fields.text("the name"), fields.code("the dtype", DTYPES)
    check_name(name)
    shape, digest = fields.shape(), fields.digest("the digest")
    tensor_bytes(dtype, shape)
    return Fingerprint(name, dtype, shape, digest)


class BaseReader(Protocol):
    """The access to a base that a reconstruction needs."""

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        """Check that the base's manifest has every tensor of `wanted`. Raises `BaseMismatch`.

        `digest`: the weights digest of the base that the container was made against, for the
        message.
        """

    def read(self, tensor: BaseTensor) -> memoryview:
        """All bytes of a tensor. Raises `BaseMismatch` if the base lacks them."""

    def copier(self, tensor: BaseTensor) -> Copier:
        """A function that copies parts of a tensor's bytes. Raises as `read`."""

    def release(self, tensor: BaseTensor) -> None:
        """Return the memory of a tensor to the system."""

    def kept_file(self, sha256: str) -> Path | None:
        """The path of a file without tensors; None if the base has no file with that SHA-256."""


class BaseWeights(Closing):
    """An open base, whose tensors are checked whenever they are read (see checked_bytes.py).

    A base suits a container if it has all tensors that the container names, by content. Its other
    tensors and its name do not matter.
    """

    def __init__(self, checkpoint: Checkpoint, manifest: Manifest, name: str) -> None:
        self.checkpoint = checkpoint
        self.name = name
        self.digest = manifest.digest
        self.tensors = {tensor.name: tensor for tensor in manifest.tensors}
        self._by_content = {(t.sha256, t.dtype): t.name for t in manifest.tensors}
        tree = checkpoint.tree
        self._kept = (
            {
                file.sha256: tree.places[file.path]
                for file in tree.kept
                if not file.path.endswith(TENSORS)  # a container uses only the tensors of these
            }
            if tree is not None
            else {}
        )

    def close(self) -> None:
        self.checkpoint.close()

    def unproven(self) -> UnprovenBase:
        """The same base, read without checking digests."""
        return UnprovenBase(self)

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        for tensor in wanted:
            name = self._by_content.get((tensor.sha256, tensor.dtype))
            if name is not None and math.prod(tensor.shape) != math.prod(self.tensors[name].shape):
                raise ContainerError(
                    f"base tensor {tensor.name!r} does not have the recorded shape"
                )
            if (tensor.sha256, tensor.dtype) not in self._by_content:
                raise BaseMismatch(
                    f"the base {self.name!r} ({self.digest}) is not the one needed ({digest}): "
                    f"its tensor {tensor.name!r} is missing or another",
                    f"Add the base whose digest is {digest} with `dsvd base add`.",
                )

    def check(self, tensors: Iterable[BaseTensor]) -> None:
        """Read and check each tensor. Raises `BaseMismatch` for the first that is damaged."""
        for tensor in tensors:
            self.read(tensor)
            self.release(tensor)

    def read(self, tensor: BaseTensor) -> memoryview:
        """The bytes of a tensor. Raises `BaseMismatch` if their SHA-256 is not that of `tensor`."""
        data = self.read_unproven(tensor)
        if data is None:
            raise self.damaged(tensor, "nothing")
        check_bytes(data, tensor.sha256, self._mismatch(tensor))
        return data

    def damaged(self, tensor: BaseTensor, found: str) -> BaseMismatch:
        """The error for a tensor whose bytes have the SHA-256 `found`, and not their own."""
        return BaseMismatch(
            f"the base {self.name!r} ({self.digest}) is damaged: tensor {tensor.name!r} of "
            f"{self.checkpoint.path} has the SHA-256 {found}, where {tensor.sha256} is needed",
            "Restore that file, or add the base again with `dsvd base add`.",
        )

    def copier(self, tensor: BaseTensor) -> Copier:
        copy = self.copier_unproven(tensor)
        if copy is None:
            raise self.damaged(tensor, "nothing")
        return checked_copier(copy, _size(tensor), tensor.sha256, self._mismatch(tensor))

    def _mismatch(self, tensor: BaseTensor) -> Mismatch:
        return lambda found: self.damaged(tensor, found)

    def read_unproven(self, tensor: BaseTensor) -> memoryview | None:
        """The current bytes of the tensor of that name, unchecked; None if there is no such tensor."""
        name = self._name_found(tensor)
        return None if name is None else self.checkpoint.read(name)

    def copier_unproven(self, tensor: BaseTensor) -> Copier | None:
        """A function that copies the current bytes; None if their number is not that of the tensor."""
        name = self._name_found(tensor)
        if name is None or self.checkpoint.tensors[name].nbytes != _size(tensor):
            return None
        return self.checkpoint.copier(name)

    def _name_found(self, tensor: BaseTensor) -> str | None:
        """The name of a tensor in this base; None if its file has no tensor of that name any more."""
        name = self._by_content.get((tensor.sha256, tensor.dtype))
        return name if name in self.checkpoint.tensors else None

    def release(self, tensor: BaseTensor) -> None:
        self.checkpoint.release(self._by_content[tensor.sha256, tensor.dtype])

    def kept_file(self, sha256: str) -> Path | None:
        return self._kept.get(sha256)


class UnprovenBase:
    """A base whose tensors are read without checking, which saves hashing them.

    Use it only where the SHA-256 of everything made from the tensors is compared, which proves them
    as well. If that digest is wrong, `BaseWeights.check` finds the damaged tensor (see
    recorded_digest.py).
    """

    def __init__(self, weights: BaseWeights) -> None:
        self._weights = weights

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        self._weights.check_suits(wanted, digest)

    def read(self, tensor: BaseTensor) -> memoryview:
        data = self._weights.read_unproven(tensor)
        if data is None or len(data) != _size(tensor):
            return self._weights.read(tensor)  # raises the error that says what is wrong
        return data

    def copier(self, tensor: BaseTensor) -> Copier:
        return self._weights.copier_unproven(tensor) or self._weights.copier(tensor)

    def release(self, tensor: BaseTensor) -> None:
        self._weights.release(tensor)

    def kept_file(self, sha256: str) -> Path | None:
        return self._weights.kept_file(sha256)


def _size(tensor: BaseTensor) -> int:
    return tensor_bytes(tensor.dtype, tensor.shape)
