"""Choice of the rule by which a tensor was quantised: that whose codes differ least from its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..checkpoint import TensorInfo
from ..checkpoint.tensor_info import BITS
from ..codec.quantise import split
from ..codec.weights import Weights
from ..container.frames import BYTES, NUMBERS, compress, compress_blocks
from ..container.quantisation import Quantisation
from ..container.records import QuantisedRecord
from ..container.rows import blocks
from ..errors import ContainerError
from ..reconstruction.base_view import ViewedBase
from ..reconstruction.quantised_weights import Quantiser
from ..residual.predicted import predicted_codes
from ..residual.run import encode_run
from .fine_tune import Counterpart, FineTune

SAMPLE = 1 << 16  # codes that rules are compared by, from the middle of the tensor
WORTH_IT = 0.95  # share of what the codes alone are compressed to that differences may take


def quantised_record(fine_tune: FineTune, info: TensorInfo) -> QuantisedRecord | None:
    """The record of quantised weights by the rule that fits best.

    None if none does: then they are of other weights, or quantised in another way. Raises
    `BaseMismatch`, `CheckpointError`.
    """
    rules = fine_tune.quantised[info.name].rules
    counterpart = fine_tune.counterparts.found[info.name]
    records = [_record(info, counterpart, rule) for rule in rules]
    sizes = _sizes(fine_tune, records, counterpart)
    least = min(sizes, default=1.0)
    return records[sizes.index(least)] if least < WORTH_IT else None


def _record(info: TensorInfo, counterpart: Counterpart, rule: Quantisation) -> QuantisedRecord:
    base = counterpart.base
    return QuantisedRecord(info.name, info.dtype, info.shape, base.tensors, base.view, 0, rule)


def _sizes(
    fine_tune: FineTune, records: Sequence[QuantisedRecord], counterpart: Counterpart
) -> list[float]:
    """The bytes of a sample of differences by each record, over those of the codes; compressed."""
    checkpoint, names = fine_tune.checkpoint, fine_tune.record_names

    def read(place: int) -> tuple[str, memoryview]:
        return checkpoint.tensors[names[place]].dtype, checkpoint.read(names[place])

    viewed, dtype = ViewedBase(counterpart.base, fine_tune.base), counterpart.base.tensors[0].dtype
    sizes = []
    for record in records:
        rule, elements = record.quantisation, math.prod(record.weights_shape)
        first, count = _middle(elements)
        width = BITS[dtype] // 8
        memory = np.empty(count * width, np.uint8)
        viewed.copy(first * width, memory)
        weights = Weights.over(memory, (count,), dtype).widened()
        size = count * rule.bits // 8
        data = checkpoint.read(record.name)[first * rule.bits // 8 :][:size]
        source = split(np.frombuffer(data, np.uint8), rule.bits, rule.order == "low")
        try:
            codes = Quantiser(record, read).codes(weights, first)
        except ContainerError:
            sizes.append(math.inf)
            continue
        run = encode_run(source, predicted_codes(codes, rule.grid))
        alone = len(compress(data, BYTES))
        sizes.append(len(compress_blocks(list(blocks(run)), NUMBERS)) / alone)
    return sizes


def _middle(elements: int) -> tuple[int, int]:
    """The first element of a sample, which is even, and its length."""
    count = min(elements, SAMPLE)
    return (elements - count) // 4 * 2, count
