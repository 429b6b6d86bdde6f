"""A fine-tune and the base that it is taken against, open."""

from __future__ import annotations

from dataclasses import dataclass

from ..checkpoint import Checkpoint
from ..container.records import Source
from ..reconstruction.base_weights import BaseWeights
from .counterparts import Counterparts, find_counterparts


@dataclass(frozen=True)
class FineTune:
    """`source` names the checkpoint's file; `counterparts` are of its tensors, in the base."""

    checkpoint: Checkpoint
    source: Source
    base: BaseWeights
    counterparts: Counterparts

    @classmethod
    def of(cls, checkpoint: Checkpoint, source: Source, base: BaseWeights) -> FineTune:
        """Raises `BaseMismatch` if they have nothing to do with each other."""
        return cls(checkpoint, source, base, find_counterparts(checkpoint, base))
