"""An open fine-tune together with its base."""

from __future__ import annotations

from dataclasses import dataclass

from ..checkpoint import Checkpoint
from ..container.records import Source
from ..reconstruction.base_weights import BaseWeights
from .counterparts import Counterparts, find_counterparts


@dataclass(frozen=True)
class FineTune:
    """A checkpoint, its base, and the counterparts of its tensors in that base.

    `source`: the format, digest and size of the checkpoint.
    """

    checkpoint: Checkpoint
    source: Source
    base: BaseWeights
    counterparts: Counterparts

    @classmethod
    def of(cls, checkpoint: Checkpoint, source: Source, base: BaseWeights) -> FineTune:
        """Find the counterparts. Raises `BaseMismatch` if the base does not belong to the checkpoint."""
        return cls(checkpoint, source, base, find_counterparts(checkpoint, base))
