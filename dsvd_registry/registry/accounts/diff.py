"""Differences between two versions, or between a version and its base, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ...catalog import VersionRecord
from ...checkpoint.tensor_info import DELTA_DTYPES
from ...codec.arithmetic import ieee_arithmetic
from ...codec.inner_products import Delta, Matrix, as_floats, compare, inner_product
from ...codec.weights import Weights
from ...container.delta_decoder import decoded_delta
from ...container.reader import Container
from ...container.records import BasedRecord, CastRecord, LowRankRecord, TensorRecord
from ...container.totals import kind_of
from ...progress import Meter, Progress
from ...reconstruction.lossless import LosslessReconstruction
from ...reconstruction.reconstruction import Reconstruction
from ..repository import Repository
from ..upkeep.residuals import open_lossless
from .report import stored_shares


@dataclass(frozen=True)
class Side:
    """One version's record of a tensor. `rank` and `energy` are None unless it is low-rank."""

    kind: str
    rank: int | None
    energy: float | None
    stored_bytes: int


@dataclass(frozen=True)
class TensorDifference:
    """A tensor in two versions. A side is None if that version lacks the tensor.

    `apart` is |dA - dB|, the Frobenius norm in units of the weights; `distance` is `apart` over the
    larger of the two norms; `cosine` is that of the angle between the deltas. All three are None if
    the containers do not give both deltas (raw tensors, different base tensors). Then `equal` says
    if the stored bytes are the same. Casts of one tensor compare as that tensor does.
    """

    name: str
    left: Side | None
    right: Side | None
    apart: float | None
    distance: float | None
    cosine: float | None
    equal: bool | None


@dataclass(frozen=True)
class Difference:
    """Two versions compared: each tensor, and the totals over tensors with two known deltas."""

    tensors: tuple[TensorDifference, ...]
    distance: float
    cosine: float
    left_norm: float
    right_norm: float
    left_bytes: int
    right_bytes: int


@dataclass(frozen=True)
class BaseDifference:
    """A tensor compared with its base: `change` = |dW| / |W_pre|, `cosine` between W_pre and W_ft."""

    name: str
    kind: str
    rank: int | None
    energy: float | None
    change: float
    cosine: float


def differences_from_base(
    version: VersionRecord, repository: Repository, progress: Progress
) -> list[BaseDifference]:
    """Compare each tensor of a version with its base; of a lossless version, the exact source.

    Raises as `Repository.open_version`.
    """
    with (
        repository.open_version(version) as (container, weights),
        open_lossless(version, repository) as lossless,
    ):
        reconstruction = Reconstruction(container, weights, container.header.encoding.tau)
        if lossless is not None:
            reconstruction = LosslessReconstruction(container, weights, lossless)
        return list(base_differences(reconstruction, container, progress))


def base_differences(
    reconstruction: Reconstruction, container: Container, progress: Progress
) -> Iterator[BaseDifference]:
    """Compare every tensor that has a counterpart in the base (figure 1 of the paper)."""
    tensors = container.header.tensors
    meter = Meter(progress, "comparing", len(tensors))
    for number, record in enumerate(tensors):
        meter.advance(1)
        if not isinstance(record, BasedRecord) or record.dtype not in DELTA_DTYPES:
            continue
        runs = list(map(_products, reconstruction.beside_base(record.name)))
        base, result, between, change = (math.fsum(run[i] for run in runs) for i in range(4))
        low_rank = record if isinstance(record, LowRankRecord) else None
        yield BaseDifference(
            name=record.name,
            kind=kind_of(record),
            rank=low_rank.rank if low_rank else None,
            energy=container.energy(number) if low_rank else None,
            change=math.sqrt(change / base) if base else (math.inf if change else 0.0),
            cosine=compare(base, result, between).cosine,
        )


def _products(sides: tuple[Weights, Weights]) -> tuple[float, float, float, float]:
    """The products |b|^2, |r|^2, <b, r> and |r - b|^2 of a run of the base b and the result r."""
    with ieee_arithmetic():
        before, after = (side.widened().astype(np.float64) for side in sides)
        change = after - before
        return _dots(before, after, change)


def _dots(before: Matrix, after: Matrix, change: Matrix) -> tuple[float, float, float, float]:
    return (
        float(before @ before),
        float(after @ after),
        float(before @ after),
        float(change @ change),
    )


class _Deltas:
    """The deltas of one container by tensor name."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._shares = stored_shares(container.header, container)
        self.index = {tensor.name: i for i, tensor in enumerate(container.header.tensors)}

    def record(self, name: str) -> TensorRecord | None:
        return self.container.header.tensors[self.index[name]] if name in self.index else None

    def rounded(self, record: CastRecord) -> str:
        """The name of the tensor that a cast is made of."""
        return self.container.header.tensors[record.of].name

    def side(self, name: str) -> Side | None:
        record = self.record(name)
        if record is None:
            return None
        low_rank = record if isinstance(record, LowRankRecord) else None
        return Side(
            kind=kind_of(record),
            rank=low_rank.rank if low_rank else None,
            energy=self.container.energy(self.index[name]) if low_rank else None,
            stored_bytes=self._shares[self.index[name]],
        )

    def delta(self, name: str) -> Delta | None:
        """The stored delta; None for a `same` record, whose delta is zero."""
        delta = decoded_delta(self.container, self.index[name])
        return None if delta is None else as_floats(delta)


def difference_of_versions(
    left: VersionRecord, right: VersionRecord, repository: Repository, progress: Progress
) -> Difference:
    """Compare the deltas of two versions. Raises `ContainerError`, `StorageError`."""
    with (
        repository.open_container(left) as left_container,
        repository.open_container(right) as right_container,
    ):
        return difference(left_container, right_container, progress)


def difference(left: Container, right: Container, progress: Progress) -> Difference:
    """Compare the deltas of two containers."""
    left_deltas, right_deltas = _Deltas(left), _Deltas(right)
    names = sorted(left_deltas.index.keys() | right_deltas.index.keys(), key=str.encode)
    meter = Meter(progress, "comparing", len(names))
    tensors, squares = [], []
    for name in names:
        tensor, square = _tensor_difference(name, left_deltas, right_deltas)
        tensors.append(tensor)
        if square is not None:
            squares.append(square)
        meter.advance(1)
    total = (
        compare(*(math.fsum(column) for column in zip(*squares, strict=True))) if squares else None
    )
    return Difference(
        tensors=tuple(tensors),
        distance=total.distance if total else 0.0,
        cosine=total.cosine if total else 1.0,
        left_norm=total.left_norm if total else 0.0,
        right_norm=total.right_norm if total else 0.0,
        left_bytes=left.size,
        right_bytes=right.size,
    )


def _tensor_difference(
    name: str, left_deltas: _Deltas, right_deltas: _Deltas
) -> tuple[TensorDifference, tuple[float, float, float] | None]:
    """The row of one tensor, and (|dA|^2, |dB|^2, <dA, dB>) if both deltas are known."""
    left, right = left_deltas.record(name), right_deltas.record(name)
    sides = left_deltas.side(name), right_deltas.side(name)
    if left is None or right is None:
        return TensorDifference(name, *sides, None, None, None, None), None
    if isinstance(left, CastRecord) and isinstance(right, CastRecord):
        rounded = left_deltas.rounded(left)
        if (rounded, left.dtype) != (right_deltas.rounded(right), right.dtype):
            return TensorDifference(name, *sides, None, None, None, False), None
        difference, _ = _tensor_difference(rounded, left_deltas, right_deltas)
        return replace(difference, name=name, left=sides[0], right=sides[1]), None
    if not _comparable(left, right):
        equal = left == right and _raw_bytes(left_deltas, name) == _raw_bytes(right_deltas, name)
        return TensorDifference(name, *sides, None, None, None, equal), None
    squares = _squares(left_deltas.delta(name), right_deltas.delta(name))
    total = compare(*squares)
    apart = total.distance * max(total.left_norm, total.right_norm)
    return TensorDifference(name, *sides, apart, total.distance, total.cosine, None), squares


def _comparable(left: TensorRecord, right: TensorRecord) -> bool:
    """True if both are deltas (`same` is the zero delta) to the same part of the same base."""
    if not (isinstance(left, BasedRecord) and isinstance(right, BasedRecord)):
        return False
    parts = [[base.sha256 for base in record.base] for record in (left, right)]
    return parts[0] == parts[1] and (left.view, left.common_shape) == (
        right.view,
        right.common_shape,
    )


def _squares(left: Delta | None, right: Delta | None) -> tuple[float, float, float]:
    return (
        inner_product(left, left) if left is not None else 0.0,
        inner_product(right, right) if right is not None else 0.0,
        inner_product(left, right) if left is not None and right is not None else 0.0,
    )


def _raw_bytes(deltas: _Deltas, name: str) -> bytes:
    return deltas.container.raw(deltas.index[name])
