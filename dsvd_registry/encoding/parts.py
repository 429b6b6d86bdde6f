"""Conversion of the codec's results to records and parts of a container."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from ..checkpoint import TensorInfo
from ..codec.encoded import Dense, Encoded, LowRank, Raw, Same, delta_figures, low_rank_figures
from ..container.frames import BYTES, compress
from ..container.records import (
    DenseRecord,
    FrameContent,
    LowRankRecord,
    RawReason,
    RawRecord,
    SameRecord,
    TensorRecord,
)
from ..container.rows import Int32, Rows, Run, pack_rows
from ..container.table import ComponentTable, pack_table
from ..fs import Bytes
from .fine_tune import Counterpart

# A container stored at one tau serves each lower tau of these by whole frames.
TAU_BANDS = (0.06, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
MAX_PART_BYTES = 16 << 20
RAW_SAMPLE_BYTES = 1 << 18


@dataclass(frozen=True)
class PackedPart:
    """A part for a frame of `content`: `count` units in `runs`. Band 0 has the first components."""

    content: FrameContent
    count: int
    runs: tuple[Run, ...]
    band: int = 0


def stored_size(encoded: Encoded, source: Bytes) -> int:
    """Estimate the bytes that a candidate takes; `source` has the tensor's own bytes.

    For integers the estimate is the entropy of each run of bytes. Compressing the runs of one
    tensor would give too much: in a frame of many tensors, runs of one class share a code.
    """
    match encoded:
        case LowRank():
            table = component_table(encoded)
            runs = _component_runs(encoded.components.a, encoded.components.b, table)
            return sum(map(_entropy, runs)) + len(compress(pack_table(table), BYTES))
        case Dense():
            return sum(map(_entropy, _element_runs(encoded.values, _maximum(encoded))))
        case Raw():
            return _compressed_size(source)
        case Same():
            return 0
        case _:
            assert_never(encoded)


def component_table(encoded: LowRank) -> ComponentTable:
    """The table of a low-rank delta's components."""
    max_a, max_b = encoded.components.maxima()
    return ComponentTable(encoded.components.exponents, max_a, max_b, encoded.singular_values)


def record_of(info: TensorInfo, encoded: Encoded, counterpart: Counterpart) -> TensorRecord:
    """The record of a tensor that was encoded against `counterpart`."""
    base = counterpart.base
    based = (info.name, info.dtype, info.shape, base.tensors, base.view, counterpart.new_rows)
    match encoded:
        case Same():
            return SameRecord(*based)
        case LowRank():
            figures = _as_stored(low_rank_figures(encoded))
            return LowRankRecord(*based, rank=len(encoded.singular_values), **figures)
        case Dense():
            return DenseRecord(
                *based,
                exponent=encoded.exponent,
                maximum=_maximum(encoded),
                **_as_stored(delta_figures(encoded)),
            )
        case Raw():
            return raw_record(info, encoded.reason)
        case _:
            assert_never(encoded)


def _as_stored(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures in the precision that a header has of them."""
    most = float(np.finfo(np.float32).max)
    singles = {name: figures[name] for name in ("base_norm", "norm", "error")}
    return figures | {name: float(np.float32(min(one, most))) for name, one in singles.items()}


def raw_record(info: TensorInfo, reason: RawReason) -> RawRecord:
    """The record of a tensor whose own bytes are stored."""
    return RawRecord(info.name, info.dtype, info.shape, reason)


def delta_parts(encoded: LowRank | Dense) -> list[PackedPart]:
    """The parts of a delta; the components of a low-rank one are split at the ranks of `TAU_BANDS`."""
    match encoded:
        case LowRank():
            return _low_rank_parts(encoded)
        case Dense():
            return _dense_parts(encoded)
        case _:
            assert_never(encoded)


def _dense_parts(encoded: Dense) -> list[PackedPart]:
    maximum, step = _maximum(encoded), MAX_PART_BYTES // 4
    runs = [encoded.values[i : i + step] for i in range(0, len(encoded.values), step)]
    return [PackedPart("elements", len(run), _element_runs(run, maximum)) for run in runs]


def _low_rank_parts(encoded: LowRank) -> list[PackedPart]:
    table = component_table(encoded)
    parts = [PackedPart("tables", len(encoded.singular_values), Run.alone(pack_table(table)))]
    a, b = encoded.components.a, encoded.components.b
    step = max(1, MAX_PART_BYTES // (4 * (a.shape[1] + b.shape[1])))
    rank = len(a)
    bounds = [min(bound, rank) for bound in table.ranks_at(TAU_BANDS, encoded.nuclear_norm)]
    first = 0
    for band, bound in enumerate((*bounds, rank)):
        while first < bound:
            end = min(first + step, bound)
            runs = _component_runs(a[first:end], b[first:end], table.rows(first, end))
            parts.append(PackedPart("components", end - first, runs, band))
            first = end
    return parts


def bytes_parts(data: Bytes) -> list[PackedPart]:
    """The parts of bytes that are stored as they are."""
    view, step = memoryview(data), MAX_PART_BYTES
    runs = [bytes(view[first : first + step]) for first in range(0, len(view), step)]
    return [PackedPart("bytes", len(run), Run.alone(run)) for run in runs]


def _component_runs(a: Int32, b: Int32, table: ComponentTable) -> tuple[Run, ...]:
    """The runs of components a (k, m) and b (k, n), whose table is `table`."""
    return (
        *pack_rows(a, Rows(a.shape[1], table.max_a)),
        *pack_rows(b, Rows(b.shape[1], table.max_b)),
    )


def _element_runs(values: Int32, maximum: int) -> tuple[Run, ...]:
    return tuple(pack_rows(values[None], Rows.one(len(values), maximum)))


def _entropy(run: Run) -> int:
    """The entropy of a run, in bytes: the least that a code for single bytes can take."""
    counts = np.bincount(np.frombuffer(run.data, np.uint8))
    counts = counts[counts > 0]
    bits = float((counts * np.log2(len(run.data) / counts)).sum())
    return math.ceil(bits / 8)


def _compressed_size(data: Bytes) -> int:
    """The compressed size; for large data an estimate from samples, good enough to compare."""
    view = memoryview(data)
    if len(view) <= 4 * RAW_SAMPLE_BYTES:
        return len(compress(view, BYTES))
    starts = range(0, len(view) - RAW_SAMPLE_BYTES, len(view) // 4)
    pieces = b"".join(view[start : start + RAW_SAMPLE_BYTES] for start in starts)
    return len(compress(pieces, BYTES)) * len(view) // len(pieces)


def _maximum(encoded: Dense) -> int:
    # As Python integers: the magnitude of the least int32 is not an int32.
    return max(int(encoded.values.max()), -int(encoded.values.min()))
