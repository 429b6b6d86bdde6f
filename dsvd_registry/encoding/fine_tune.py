"""An open fine-tune together with its base."""

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
    """A checkpoint, its base, and the counterparts of its tensors in that base.

    `source`: the format, digest and size of the checkpoint. `casts`: the records of tensors that are
    other tensors of the checkpoint, rounded.
    """

    checkpoint: Checkpoint
    source: Source
    base: BaseWeights
    counterparts: Counterparts
    casts: Mapping[str, CastRecord]

    @classmethod
    def of(cls, checkpoint: Checkpoint, source: Source, base: BaseWeights) -> FineTune:
        """Find the counterparts and the casts.

        Raises `BaseMismatch` if the base does not belong to the checkpoint, `CheckpointError`.
        """
        counterparts = find_counterparts(checkpoint, base)
        return cls(checkpoint, source, base, counterparts, find_casts(checkpoint))
