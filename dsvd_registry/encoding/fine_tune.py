"""A fine-tune and the base that it is taken against, open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..checkpoint import Checkpoint
from ..container.records import CastRecord, Source
from ..reconstruction.base_weights import BaseWeights
from .casts import find_casts
from .counterparts import Counterparts, find_counterparts


@dataclass(frozen=True)
class FineTune:
    """`source` names the checkpoint's file; `counterparts` are of its tensors, in the base.

    `casts`: the records of those of its tensors that are others of it, rounded.
    """

    checkpoint: Checkpoint
    source: Source
    base: BaseWeights
    counterparts: Counterparts
    casts: Mapping[str, CastRecord]

    @classmethod
    def of(cls, checkpoint: Checkpoint, source: Source, base: BaseWeights) -> FineTune:
        """Raises `BaseMismatch` if they have nothing to do with each other, `CheckpointError`."""
        counterparts = find_counterparts(checkpoint, base)
        return cls(checkpoint, source, base, counterparts, find_casts(checkpoint))
