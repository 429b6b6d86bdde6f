"""Bases compared with a checkpoint by the names and shapes of tensors, from their manifests alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...catalog import BaseRecord
from ...checkpoint import Checkpoint, TensorInfo
from ...checkpoint.safetensors_file import parse_header
from ...container.records import BaseTensor
from ...encoding.quantised_schemes import before_quantisation, find_quantised
from ...errors import BaseMismatch, CheckpointError
from ...layouts import ViewedTensors, describe, goes_with_quantised, lacks_delta, map_with_variants
from ...lora import Adapter, Configuration, check_whole, is_lora, place_changes, read_adapter
from ..repository import Repository

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Candidate:
    """A base that a checkpoint may be a fine-tune of.

    `matched`: the share in [0, 1] of the checkpoint's tensors that the base has by name and shape.
    `deltas`: the share of tensors for which a delta can be computed. `change`: the Frobenius norm of
    (checkpoint - base) over that of the base, in a sample of weights; None without a sample.
    `problem`: the reason why the base could not be compared, or "".
    """

    name: str
    digest: str
    matched: float
    deltas: float
    change: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        """Text for people: "sd15 (100 % of the tensors, change 0.0123)"."""
        words = [f"{int(100 * self.matched)} % of the tensors"]
        if self.deltas < self.matched:
            words = [f"{words[0]} by name and shape, deltas of {int(100 * self.deltas)} %"]
        if self.change is not None:
            words.append(f"change {self.change:.3g}")
        if self.problem:
            words.append(self.problem)
        return f"{self.name} ({', '.join(words)})"


def has_delta(dtype: str, counterpart: ViewedTensors[BaseTensor]) -> bool:
    """True if a delta of a tensor of `dtype` to its counterpart can be computed."""
    return lacks_delta(dtype, [tensor.dtype for tensor in counterpart.tensors]) is None


def contents(counterpart: ViewedTensors[BaseTensor]) -> tuple[tuple[str, str], ...]:
    """The SHA-256 and dtype of each tensor: a value that is equal for equal weights under one view."""
    return tuple((tensor.sha256, tensor.dtype) for tensor in counterpart.tensors)


@dataclass(frozen=True)
class ComparedBase:
    """A base, and the counterparts that it has of a checkpoint's tensors, by their names."""

    base: BaseRecord
    size: int  # the number of tensors of the base
    counterparts: Mapping[str, ViewedTensors[BaseTensor]]
    candidate: Candidate

    @property
    def renamed_tensors(self) -> int:
        """The number of tensors with another name in the base; 0 if both have the same layout."""
        return sum(
            name not in {tensor.name for tensor in counterpart.tensors}
            for name, counterpart in self.counterparts.items()
        )

    def differs(self, other: ComparedBase) -> bool:
        """True if the two bases have different weights where both have counterparts.

        Digests cannot be compared where only one base stores weights fused; the change decides there.
        """
        both = self.counterparts.keys() & other.counterparts.keys()
        alike = [
            name for name in both if self.counterparts[name].view == other.counterparts[name].view
        ]
        if any(
            contents(self.counterparts[name]) != contents(other.counterparts[name])
            for name in alike
        ):
            return True
        if len(alike) == len(both):
            return not both
        change = self.candidate.change
        return change is None or change != other.candidate.change


def compared_bases(
    checkpoint: Checkpoint, bases: Sequence[BaseRecord], repository: Repository
) -> list[ComparedBase]:
    """Compare the checkpoint with every base by names and shapes.

    For a LoRA file, a tensor matches if the base has its layer. Raises `RegistryError`, and
    `CheckpointError`, also for a LoRA file of which nothing can be merged.
    """
    adapter = None
    if is_lora(checkpoint.tensors):
        adapter = read_adapter(checkpoint, Configuration.of_header(checkpoint))
        if not adapter.changes:
            check_whole(checkpoint.path, adapter.refused, is_all=True)
    return [_compared_base(checkpoint, adapter, base, repository) for base in bases]


def _compared_base(
    checkpoint: Checkpoint, adapter: Adapter | None, base: BaseRecord, repository: Repository
) -> ComparedBase:
    fingerprints = repository.manifest(base).tensors
    tensors = {tensor.name: tensor for tensor in fingerprints}
    counterparts: dict[str, ViewedTensors[BaseTensor]] = {}
    problem = ""
    try:
        if adapter is None:
            counterparts = dict(_counterparts_of_weights(checkpoint, tensors, tensors))
        else:
            counterparts = dict(
                _counterparts_of_lora(checkpoint, adapter, tensors, tensors, base.name)
            )
    except BaseMismatch:
        problem = str(describe(tensors))
    except CheckpointError as error:  # the names of other bases may still be convertible
        problem = str(error)
    total = sum(
        name in counterparts or not goes_with_quantised(name) for name in checkpoint.tensors
    )
    deltas = sum(
        has_delta(checkpoint.tensors[name].dtype, counterpart)
        for name, counterpart in counterparts.items()
    )
    if adapter is not None:  # layers that no base can take must not count against this one
        total = sum(len(change.tensors) for change in adapter.changes)
        deltas = len(counterparts)  # factors are multiplied, whatever their dtype
    matched, compared = len(counterparts) / max(1, total), deltas / max(1, total)
    candidate = Candidate(base.name, base.digest, matched, compared, None, problem)
    return ComparedBase(base, len(tensors), counterparts, candidate)


def _counterparts_of_weights(
    checkpoint: Checkpoint, infos: Tensors, tensors: Mapping[str, BaseTensor]
) -> Iterator[tuple[str, ViewedTensors[BaseTensor]]]:
    seen, own_names = before_quantisation(checkpoint.tensors, find_quantised(checkpoint))
    names = map_with_variants(infos, seen, checkpoint.variants)
    for one in names.correspondences:
        yield own_names.get(one.tensor, one.tensor), one.base.resolve(tensors)


def _counterparts_of_lora(
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
