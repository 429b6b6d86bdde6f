"""What names and shapes tell of each base beside a checkpoint: from their manifests alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..catalog import BaseRecord
from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.safetensors_file import parse_header
from ..container.records import BaseTensor
from ..errors import BaseMismatch, CheckpointError
from ..layouts import (
    ViewedTensors,
    describe,
    goes_with_quantised,
    lacks_delta,
    map_with_variants,
)
from ..lora import Adapter, Configuration, check_whole, is_lora, place_changes, read_adapter
from .repository import Repository

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Candidate:
    """A base beside a checkpoint. `matched`: the share of the checkpoint's tensors that it has by name
    and shape, in [0, 1]; `deltas`: the share of which a delta to it can be taken.

    `change`: Frobenius norm of (checkpoint - base) over that of the base, of a sample of weights;
    None where none was taken. `problem`: what kept the base from being compared, or "".
    """

    name: str
    digest: str
    matched: float
    deltas: float
    change: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        """For people: "sd15 (100 % of the tensors, change 0.0123)"."""
        words = [f"{int(100 * self.matched)} % of the tensors"]
        if self.deltas < self.matched:
            words = [f"{words[0]} by name and shape, deltas of {int(100 * self.deltas)} %"]
        if self.change is not None:
            words.append(f"change {self.change:.3g}")
        if self.problem:
            words.append(self.problem)
        return f"{self.name} ({', '.join(words)})"


def has_delta(dtype: str, viewed: ViewedTensors[BaseTensor]) -> bool:
    """Whether a delta of a tensor of `dtype` to these base tensors can be taken."""
    return lacks_delta(dtype, [tensor.dtype for tensor in viewed.tensors]) is None


def contents(viewed: ViewedTensors[BaseTensor]) -> tuple[tuple[str, str], ...]:
    """The SHA-256 and dtype of each tensor: under one view equal only for equal weights."""
    return tuple((tensor.sha256, tensor.dtype) for tensor in viewed.tensors)


@dataclass(frozen=True)
class Beside:
    """A base, and by the names of a checkpoint's tensors what it has of them."""

    base: BaseRecord
    size: int  # how many tensors it has
    found: Mapping[str, ViewedTensors[BaseTensor]]
    candidate: Candidate

    @property
    def other_words(self) -> int:
        """How many tensors are called otherwise in the base: in its own layout, none is."""
        return sum(
            name not in {tensor.name for tensor in viewed.tensors}
            for name, viewed in self.found.items()
        )

    def differs(self, other: Beside) -> bool:
        """Whether they hold other weights where both correspond to the checkpoint.

        Of weights that only one of them keeps fused, the digests say nothing; the change does.
        """
        both = self.found.keys() & other.found.keys()
        alike = [name for name in both if self.found[name].view == other.found[name].view]
        if any(contents(self.found[name]) != contents(other.found[name]) for name in alike):
            return True
        if len(alike) == len(both):
            return not both
        change = self.candidate.change
        return change is None or change != other.candidate.change


def candidates(
    checkpoint: Checkpoint, bases: Sequence[BaseRecord], repository: Repository
) -> list[Beside]:
    """Every base beside the checkpoint; of a LoRA file's tensors, those that it has a layer for.

    Raises `CheckpointError`, also for a LoRA file of which nothing can be merged; `RegistryError`.
    """
    adapter = None
    if is_lora(checkpoint.tensors):
        adapter = read_adapter(checkpoint, Configuration.of_header(checkpoint))
        if not adapter.changes:
            check_whole(checkpoint.path, adapter.refused, is_all=True)
    return [_beside(checkpoint, adapter, base, repository) for base in bases]


def _beside(
    checkpoint: Checkpoint, adapter: Adapter | None, base: BaseRecord, repository: Repository
) -> Beside:
    fingerprints = repository.manifest(base).tensors
    tensors = {tensor.name: tensor for tensor in fingerprints}
    found: dict[str, ViewedTensors[BaseTensor]] = {}
    problem = ""
    try:
        if adapter is None:
            found = dict(_of_weights(checkpoint, tensors, tensors))
        else:
            found = dict(_of_lora(checkpoint, adapter, tensors, tensors, base.name))
    except BaseMismatch:
        problem = str(describe(tensors))
    except CheckpointError as error:  # this base's names cannot be converted: others' may
        problem = str(error)
    asked = [name for name in checkpoint.tensors if name in found or not goes_with_quantised(name)]
    total = len(asked)
    deltas = sum(has_delta(checkpoint.tensors[name].dtype, one) for name, one in found.items())
    if adapter is not None:  # what no base could take says nothing of this one
        total = sum(len(change.tensors) for change in adapter.changes)
        deltas = len(found)  # factors are multiplied out, in whatever dtype they are
    matched, compared = len(found) / max(1, total), deltas / max(1, total)
    candidate = Candidate(base.name, base.digest, matched, compared, None, problem)
    return Beside(base, len(tensors), found, candidate)


def _of_weights(
    checkpoint: Checkpoint, infos: Tensors, tensors: Mapping[str, BaseTensor]
) -> Iterator[tuple[str, ViewedTensors[BaseTensor]]]:
    names = map_with_variants(infos, checkpoint.tensors, checkpoint.variants)
    for one in names.correspondences:
        yield one.tensor, one.base.resolve(tensors)


def _of_lora(
    checkpoint: Checkpoint,
    adapter: Adapter,
    infos: Tensors,
    tensors: Mapping[str, BaseTensor],
    base_name: str,
) -> Iterator[tuple[str, ViewedTensors[BaseTensor]]]:
    metadata = parse_header(checkpoint.header)[0] if checkpoint.header else None
    merge = place_changes(adapter, infos, checkpoint.path, base_name, metadata or {})
    for placed in merge.changes.values():
        for one in placed:
            for name in one.change.tensors:
                yield name, one.rows[0].base.resolve(tensors)
