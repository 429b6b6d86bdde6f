"""The base's tensors by content: its manifest, and reading them with every byte checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..checkpoint import Checkpoint
from ..checkpoint.checkpoint import Copier, check_name, check_shape, shown
from ..checkpoint.dtypes import tensor_bytes
from ..checkpoint.tensor_info import Fingerprint, weights_digest
from ..checkpoint.weight_files import TENSORS
from ..closing import Closing
from ..container.records import BaseTensor
from ..errors import BaseMismatch, CheckpointError, ContainerError, RegistryError
from ..hashing import sha256
from ..store import event_json


@dataclass(frozen=True)
class Manifest:
    """What a base is: the fingerprint of each of its tensors."""

    tensors: tuple[Fingerprint, ...]

    @property
    def digest(self) -> str:
        """The weights digest that identifies the base."""
        return weights_digest(self.tensors)

    def to_bytes(self) -> bytes:
        """Canonical JSON: `tensors`, each with `name`, `dtype`, `shape` and `sha256`."""
        return event_json.dump(
            {
                "tensors": [
                    {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "sha256": t.sha256}
                    for t in self.tensors
                ]
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Raises `RegistryError` for anything but a manifest."""
        value = event_json.parse(data, where)
        try:
            manifest = cls(tuple(map(_fingerprint, _field(value, {"tensors"}, list))))
        except CheckpointError as error:
            raise RegistryError(f"{where} is not the manifest of a base: {error}") from error
        if len({tensor.name for tensor in manifest.tensors}) < len(manifest.tensors):
            raise RegistryError(f"{where} is not the manifest of a base: a name stands twice")
        return manifest


_DIGEST = re.compile(r"[0-9a-f]{64}")


def _fingerprint(entry: Any) -> Fingerprint:
    """A tensor of a manifest. Raises `CheckpointError` for every rule that it breaks."""
    names = {"name", "dtype", "shape", "sha256"}
    shape = _field(entry, names, list, "shape")
    name, dtype, digest = (_field(entry, names, str, key) for key in ("name", "dtype", "sha256"))
    check_name(name)
    found = Fingerprint(name, dtype, check_shape(name, tuple(shape)), digest)
    tensor_bytes(found.dtype, found.shape)
    if not _DIGEST.fullmatch(digest):
        raise CheckpointError(f"tensor {shown(name)} has no SHA-256")
    return found


def _field(value: Any, names: set[str], kind: type, name: str = "tensors") -> Any:
    """The field `name` of an object that has exactly the fields `names`."""
    if not isinstance(value, dict) or value.keys() != names:
        raise CheckpointError(f"it is not an object of {', '.join(sorted(names))} alone")
    if type(value[name]) is not kind:
        raise CheckpointError(f"its field {name!r} is of another type")
    return value[name]


class BaseReader(Protocol):
    """A base that a result is made over."""

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        """Raises `BaseMismatch` unless the base's manifest has every tensor of `wanted`.

        `digest` is that of the base that the container was made against, for the message.
        """

    def read(self, tensor: BaseTensor) -> memoryview:
        """The bytes of a tensor, as many as it has. Raises `BaseMismatch` if it lacks them."""

    def copier(self, tensor: BaseTensor) -> Copier:
        """What copies them a part at a time. Raises as `read`."""

    def release(self, tensor: BaseTensor) -> None:
        """Let the system have the memory of a tensor back."""

    def kept_file(self, sha256: str) -> Path | None:
        """Where a file lies that is not of tensors; None if the base has none of that SHA-256."""


class BaseWeights(Closing):
    """An open base. Every tensor is compared with the SHA-256 that is asked for, whenever it is read.

    A base suits a container if it holds the tensors that the container names, by content: other
    tensors of it, and its name, do not matter.
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
                if not file.path.endswith(TENSORS)  # of those a container takes tensors alone
            }
            if tree is not None
            else {}
        )

    def close(self) -> None:
        self.checkpoint.close()

    def unproven(self) -> UnprovenBase:
        """The same base, of which nothing is compared as it is read."""
        return UnprovenBase(self)

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        for tensor in wanted:
            name = self._by_content.get((tensor.sha256, tensor.dtype))
            if name is not None and math.prod(tensor.shape) != math.prod(self.tensors[name].shape):
                raise ContainerError(f"base tensor {tensor.name!r} is not of the shape it is given")
            if (tensor.sha256, tensor.dtype) not in self._by_content:
                raise BaseMismatch(
                    f"the base {self.name!r} ({self.digest}) is not the one needed ({digest}): "
                    f"its tensor {tensor.name!r} is missing or another",
                    f"Add the base whose digest is {digest} with `dsvd base add`.",
                )

    def check(self, tensors: Iterable[BaseTensor]) -> None:
        """Read each of them. Raises `BaseMismatch` for the first that is damaged."""
        for tensor in tensors:
            self.read(tensor)
            self.release(tensor)

    def read(self, tensor: BaseTensor) -> memoryview:
        """The bytes of a tensor. Raises `BaseMismatch` if they are not the ones that are named."""
        data = self.read_unproven(tensor)
        # Each time anew: the file may have been changed since, and by somebody who can forge XXH3.
        found = "nothing" if data is None else sha256(data)
        if data is None or found != tensor.sha256:
            raise BaseMismatch(
                f"the base {self.name!r} ({self.digest}) is damaged: tensor {tensor.name!r} of "
                f"{self.checkpoint.path} has the SHA-256 {found}, where {tensor.sha256} is needed",
                "Restore that file, or add the base again with `dsvd base add`.",
            )
        return data

    def copier(self, tensor: BaseTensor) -> Copier:
        self.read(tensor)
        return self.checkpoint.copier(self._by_content[tensor.sha256, tensor.dtype])

    def read_unproven(self, tensor: BaseTensor) -> memoryview | None:
        """The bytes that stand in the tensor's place now, as many as they are; None for no tensor."""
        name = self._name_found(tensor)
        return None if name is None else self.checkpoint.read(name)

    def copier_unproven(self, tensor: BaseTensor) -> Copier | None:
        """What copies those bytes; None if they are not as many as the tensor's."""
        name = self._name_found(tensor)
        if name is None or self.checkpoint.tensors[name].nbytes != _size(tensor):
            return None
        return self.checkpoint.copier(name)

    def _name_found(self, tensor: BaseTensor) -> str | None:
        """What a tensor is called in this base, if its file still has one of that name."""
        name = self._by_content.get((tensor.sha256, tensor.dtype))
        return name if name in self.checkpoint.tensors else None

    def release(self, tensor: BaseTensor) -> None:
        self.checkpoint.release(self._by_content[tensor.sha256, tensor.dtype])

    def kept_file(self, sha256: str) -> Path | None:
        return self._kept.get(sha256)


class UnprovenBase:
    """A base whose tensors are taken as they are found, which saves hashing them.

    Only for who compares the SHA-256 of all that is made of them, which proves them too, and asks
    `BaseWeights.check` what is damaged where it is another (see proving.py).
    """

    def __init__(self, weights: BaseWeights) -> None:
        self._weights = weights

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        self._weights.check_suits(wanted, digest)

    def read(self, tensor: BaseTensor) -> memoryview:
        data = self._weights.read_unproven(tensor)
        if data is None or len(data) != _size(tensor):
            return self._weights.read(tensor)  # which says what is wrong
        return data

    def copier(self, tensor: BaseTensor) -> Copier:
        return self._weights.copier_unproven(tensor) or self._weights.copier(tensor)

    def release(self, tensor: BaseTensor) -> None:
        self._weights.release(tensor)

    def kept_file(self, sha256: str) -> Path | None:
        return self._weights.kept_file(sha256)


def _size(tensor: BaseTensor) -> int:
    return tensor_bytes(tensor.dtype, tensor.shape)
