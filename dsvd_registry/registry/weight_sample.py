"""How far a checkpoint's weights are from a base's, judged by a sample of them. No torch is needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..checkpoint import Checkpoint
from ..checkpoint.dtypes import BITS
from ..checkpoint.float_elements import Numbers, numbers
from ..container.records import BaseTensor
from ..encoding.constants import Values, are_integers, is_sequence
from ..layouts import ViewedTensors, lacks_delta
from ..reconstruction.base_view import ViewedBase
from ..reconstruction.base_weights import BaseReader

TENSORS = 16
ELEMENTS = 1 << 15  # of each tensor
RUNS = 8  # that these are read in: the first rows alone may be such as no training changes


def spread(names: Iterable[str]) -> list[str]:
    """At most `TENSORS` of the names, from all parts of a model: evenly among them when sorted."""
    ordered = sorted(names)
    last, count = len(ordered) - 1, min(TENSORS, len(ordered))
    return [ordered[round(last * number / max(1, count - 1))] for number in range(count)]


def runs(elements: int) -> Iterator[tuple[int, int]]:
    """Where each run of a tensor begins and ends: one of all elements, or `RUNS` from end to end.

    They have `ELEMENTS` elements at most together, and do not overlap.
    """
    if elements <= ELEMENTS:
        yield 0, elements
        return
    length = ELEMENTS // RUNS
    for number in range(RUNS):
        first = (elements - length) * number // (RUNS - 1)
        yield first, first + length


def can_be_sampled(dtype: str, base: Sequence[BaseTensor]) -> bool:
    """Whether a sample can be taken of a tensor of this dtype against those of a base."""
    dtypes = {tensor.dtype for tensor in base}
    return len(dtypes) == 1 and lacks_delta(dtype, dtypes) is None


def relative_change(
    checkpoint: Checkpoint, base: BaseReader, sampled: Mapping[str, ViewedTensors[BaseTensor]]
) -> float:
    """Frobenius norm of (checkpoint - base) over that of the base, of some elements of each tensor.

    `sampled`: by the name in the checkpoint, what the tensor is compared with. Non-finite elements
    are passed over, and constants: any of them is larger than all weights. Raises `BaseMismatch` for
    a base that lacks the bytes, `CheckpointError`.
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
    # Rows that the base lacks (added tokens) stand at the end.
    for first, end in runs(math.prod(counterpart.shape)):
        held = np.empty((end - first) * base_width, np.uint8)
        viewed.copy(first * base_width, held)
        run = data[first * width : end * width]
        sides = Values(held.data, base_dtype), Values(run, dtype)
        if not any(is_sequence(side) or are_integers(side, besides_units=True) for side in sides):
            yield numbers(held.data, base_dtype), numbers(run, dtype)
    viewed.release()
    checkpoint.release(name)
