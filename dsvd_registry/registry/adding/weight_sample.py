"""The relative change of a checkpoint to a base, estimated from a sample of weights without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ...checkpoint import Checkpoint
from ...checkpoint.tensor_info import BITS
from ...container.records import BaseTensor
from ...encoding.constants import Numbers, Values, are_integers, is_sequence, numbers
from ...layouts import ViewedTensors, lacks_delta
from ...reconstruction.base_view import ViewedBase
from ...reconstruction.base_weights import BaseReader

TENSORS = 16
ELEMENTS = 1 << 15  # of each tensor
RUNS = 8  # per tensor: its first rows alone may be ones that training does not change


def sampled_names(names: Iterable[str]) -> list[str]:
    """At most `TENSORS` of the names, evenly from their sorted order: from all parts of a model."""
    ordered = sorted(names)
    last, count = len(ordered) - 1, min(TENSORS, len(ordered))
    return [ordered[round(last * number / max(1, count - 1))] for number in range(count)]


def runs(elements: int) -> Iterator[tuple[int, int]]:
    """The first and the end index of each sampled run of a tensor.

    A small tensor is one run; a larger one has `RUNS` runs, spread evenly without overlap, with at
    most `ELEMENTS` elements together.
    """
    if elements <= ELEMENTS:
        yield 0, elements
        return
    length = ELEMENTS // RUNS
    for number in range(RUNS):
        first = (elements - length) * number // (RUNS - 1)
        yield first, first + length


def can_be_sampled(dtype: str, base: Sequence[BaseTensor]) -> bool:
    """True if a tensor of this dtype can be compared with these tensors of a base."""
    dtypes = {tensor.dtype for tensor in base}
    return len(dtypes) == 1 and lacks_delta(dtype, dtypes) is None


def relative_change(
    checkpoint: Checkpoint, base: BaseReader, sampled: Mapping[str, ViewedTensors[BaseTensor]]
) -> float:
    """The Frobenius norm of (checkpoint - base) over that of the base, in a sample of elements.

    `sampled`: the counterpart of each tensor to sample, by its name in the checkpoint. Non-finite
    elements are skipped, and so are constants, which would outweigh all weights. Raises
    `BaseMismatch` if the base cannot be read, `CheckpointError`.
    """
    moved = norm = 0.0
    for name, counterpart in sampled.items():
        for before, after in _pairs(checkpoint, name, base, counterpart):
            finite = np.isfinite(before) & np.isfinite(after)
            before, after = before[finite].astype(np.float64), after[finite].astype(np.float64)
            moved += float(np.square(after - before).sum())
            norm += float(np.square(before).sum())
    if not norm:
        return math.inf if moved else 0.0
    return math.sqrt(moved / norm)


def _pairs(
    checkpoint: Checkpoint, name: str, base: BaseReader, counterpart: ViewedTensors[BaseTensor]
) -> Iterator[tuple[Numbers, Numbers]]:
    """Runs of a tensor's elements in the base and in the checkpoint."""
    base_dtype, dtype = counterpart.tensors[0].dtype, checkpoint.tensors[name].dtype
    base_width, width = BITS[base_dtype] // 8, BITS[dtype] // 8
    viewed, data = ViewedBase(counterpart, base), checkpoint.read(name)
    # Rows that the base lacks (added tokens) are the last ones.
    for first, end in runs(math.prod(counterpart.shape)):
        base_run = np.empty((end - first) * base_width, np.uint8)
        viewed.copy(first * base_width, base_run)
        run = data[first * width : end * width]
        sides = Values(base_run.data, base_dtype), Values(run, dtype)
        if not any(is_sequence(side) or are_integers(side, beyond_units=True) for side in sides):
            yield numbers(base_run.data, base_dtype), numbers(run, dtype)
    viewed.release()
    checkpoint.release(name)
