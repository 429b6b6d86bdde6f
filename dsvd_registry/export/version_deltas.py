"""The delta of each tensor of a version, in float64: what materialising adds to the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, assert_never

import torch

from ..checkpoint.dtypes import DELTA_DTYPES
from ..codec.components import Components, Elements
from ..codec.torch_tensors import tensor_over
from ..container.delta_decoder import decoded_delta
from ..container.reader import Container
from ..container.records import (
    BaseTensor,
    CastRecord,
    DenseRecord,
    Header,
    LowRankRecord,
    RawRecord,
    SameRecord,
    TensorRecord,
)
from ..layouts import View, map_names
from .fold_exponents import Delta, Factors, folded

# Of these the base's tensor is the other side of a delta, and only kept whole because that is smaller
# or because the grid does not reach it.
_RAW_DELTAS = ("smaller", "range")


class Base(Protocol):
    """The base of a version, open."""

    @property
    def tensors(self) -> Mapping[str, BaseTensor]:
        """All of its tensors, by name."""

    def read(self, tensor: BaseTensor) -> memoryview:
        """The bytes of a tensor. Raises `BaseMismatch` if they are not the ones that are named."""


class Deltas:
    """The deltas of a container's tensors; of `base` only what no delta is stored of is read."""

    def __init__(self, container: Container, base: Base) -> None:
        self._container, self._base = container, base
        self._counterparts = _counterparts(container.header, base)

    def of(self, index: int) -> Delta | None:
        """The delta of tensor number `index`: its common rows' (m, rest) matrix, or all of its shape.

        Of a cast it is that of the tensor that is rounded. None where nothing changed, and where there
        is nothing that it is a change of. Raises `ContainerError`, `BaseMismatch`.
        """
        record = self._container.header.tensors[index]
        match record:
            case LowRankRecord() | DenseRecord():
                return self._of_stored(index, record.common_shape)
            case RawRecord():
                is_delta = record.name in self._counterparts
                return self._of_raw(record, self._container.raw(index)) if is_delta else None
            case SameRecord():
                return None
            case CastRecord():
                return self.of(record.of)
            case _:
                assert_never(record)

    def _of_stored(self, index: int, shape: tuple[int, ...]) -> Delta | None:
        delta = decoded_delta(self._container, index)
        match delta:
            case Components():
                return folded(delta)
            case Elements():
                values = torch.from_numpy(delta.values).to(torch.float64)
                return (values * 2.0**delta.exponent).reshape(shape)
            case None:
                return None
            case _:
                assert_never(delta)

    def _of_raw(self, record: RawRecord, data: bytes) -> torch.Tensor | None:
        names, view = self._counterparts[record.name]
        tensors = [self._base.tensors[name] for name in names]
        found = [
            tensor_over(self._base.read(t), t.dtype, t.shape).to(torch.float64) for t in tensors
        ]
        base = view.apply(found, torch.cat)
        source = tensor_over(memoryview(data), record.dtype, record.shape).to(torch.float64)
        if base.numel() != source.numel():
            return None
        delta = source - base.reshape(source.shape)
        return delta if bool(torch.isfinite(delta).all()) else None


def missing_delta(record: TensorRecord) -> str | None:
    """Why a tensor may have no delta and yet be another than the base's; None if it has not changed."""
    match record:
        case RawRecord():
            is_equal = record.reason == "signed_zero"
            return None if is_equal else f"stored whole ({record.reason}): there is no delta of it"
        case SameRecord() | LowRankRecord() | DenseRecord() | CastRecord():
            return None
        case _:
            assert_never(record)


def viewed_delta(delta: Delta, view: View) -> Delta:
    """The same of a delta; low-rank factors stay low-rank."""
    if isinstance(delta, torch.Tensor):
        return view.apply([delta], torch.cat)
    match view.kind:
        case "transpose":
            return Factors(delta.b, delta.a)
        case "slice":
            return Factors(delta.a[:, view.first : view.first + view.rows], delta.b)
        case "reshape" | "concatenate":
            return delta
        case _:
            assert_never(view.kind)


def square_norm(delta: Delta) -> float:
    """Of the Frobenius norm."""
    if isinstance(delta, torch.Tensor):
        return float(delta.square().sum())
    return float(((delta.a @ delta.a.T) * (delta.b @ delta.b.T)).sum())


def _counterparts(header: Header, base: Base) -> dict[str, tuple[tuple[str, ...], View]]:
    """The base's tensors, and their view, of the raw tensors that have some."""
    wanted = {
        t.name
        for t in header.tensors
        if isinstance(t, RawRecord) and t.reason in _RAW_DELTAS and t.dtype in DELTA_DTYPES
    }
    if not wanted:
        return {}
    there = base.tensors
    own = {t.name: t for t in header.tensors}
    return {
        one.tensor: (one.base, one.view)
        for one in map_names(there, own).correspondences
        if one.tensor in wanted and all(there[name].dtype in DELTA_DTYPES for name in one.base)
    }
