"""The delta of each tensor of a version in float64, which materialising adds to the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, assert_never

import torch

from ..checkpoint.tensor_info import DELTA_DTYPES
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
    QuantisedRecord,
    RawRecord,
    SameRecord,
    TensorRecord,
)
from ..layouts import View, ViewedTensors, map_names
from .fold_exponents import Delta, Factors, folded

# Raw tensors that have a delta: their bytes are stored because that is smaller, or because the delta
# is outside the range of the grid.
_RAW_DELTAS = ("smaller", "range")


class Base(Protocol):
    """The base of a version, open."""

    @property
    def tensors(self) -> Mapping[str, BaseTensor]:
        """All of its tensors, by name."""

    def read(self, tensor: BaseTensor) -> memoryview:
        """The bytes of a tensor. Raises `BaseMismatch` if their SHA-256 is another."""


class Deltas:
    """The deltas of a container's tensors. `base` is read only for tensors without a stored delta."""

    def __init__(self, container: Container, base: Base) -> None:
        self._container, self._base = container, base
        self._counterparts = _counterparts(container.header, base)

    def of(self, index: int) -> Delta | None:
        """The delta of tensor number `index`: of its common rows, or of the whole shape of a raw tensor.

        The delta of a cast is that of the tensor that it rounds. Returns None for an unchanged
        tensor, and for one without a counterpart in the base. Raises `ContainerError`, `BaseMismatch`.
        """
        record = self._container.header.tensors[index]
        match record:
            case LowRankRecord() | DenseRecord():
                return self._of_stored(index, record.common_shape)
            case RawRecord():
                is_delta = record.name in self._counterparts
                return self._of_raw(record, self._container.raw(index)) if is_delta else None
            case SameRecord() | QuantisedRecord():
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
        base = self._counterparts[record.name].apply(self._base_tensor, torch.cat)
        source = tensor_over(memoryview(data), record.dtype, record.shape).to(torch.float64)
        if base.numel() != source.numel():
            return None
        delta = source - base.reshape(source.shape)
        return delta if bool(torch.isfinite(delta).all()) else None

    def _base_tensor(self, name: str) -> torch.Tensor:
        tensor = self._base.tensors[name]
        data = self._base.read(tensor)
        return tensor_over(data, tensor.dtype, tensor.shape).to(torch.float64)


def missing_delta(record: TensorRecord) -> str | None:
    """The reason why a changed tensor has no delta; None for a tensor that has one, or no change."""
    match record:
        case RawRecord():
            is_equal = record.reason == "signed_zero"
            return None if is_equal else f"stored whole ({record.reason}): it has no delta"
        case QuantisedRecord():
            return "quantised: it has no delta"
        case SameRecord() | LowRankRecord() | DenseRecord() | CastRecord():
            return None
        case _:
            assert_never(record)


def viewed_delta(delta: Delta, view: View) -> Delta:
    """The view of a delta; low-rank factors stay low-rank."""
    if isinstance(delta, torch.Tensor):
        return view.apply([delta], torch.cat)
    match view.kind:
        case "transpose":
            return Factors(delta.b, delta.a)
        case "slice":
            return Factors(delta.a[:, view.first : view.first + view.rows], delta.b)
        case "roll":
            return Factors(torch.roll(delta.a, -view.first, 1), delta.b)
        case "reshape" | "concatenate":
            return delta
        case _:
            assert_never(view.kind)


def square_norm(delta: Delta) -> float:
    """The square of the Frobenius norm."""
    if isinstance(delta, torch.Tensor):
        return float(delta.square().sum())
    return float(((delta.a @ delta.a.T) * (delta.b @ delta.b.T)).sum())


def _counterparts(header: Header, base: Base) -> dict[str, ViewedTensors[str]]:
    """The base tensors that each raw tensor with a delta corresponds to, by its name."""
    raw_deltas = {
        t.name
        for t in header.tensors
        if isinstance(t, RawRecord) and t.reason in _RAW_DELTAS and t.dtype in DELTA_DTYPES
    }
    if not raw_deltas:
        return {}
    base_tensors = base.tensors
    own = {t.name: t for t in header.tensors}
    return {
        one.tensor: one.base
        for one in map_names(base_tensors, own).correspondences
        if one.tensor in raw_deltas
        and all(base_tensors[name].dtype in DELTA_DTYPES for name in one.base.tensors)
    }
