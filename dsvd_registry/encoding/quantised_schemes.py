"""Recognition of quantised weights by names, dtypes and shapes (docs/checkpoints.md).

A file seldom says everything: not which half of a byte comes first, nor how its scales lie. So a
tensor has one rule or several, and that which fits its codes best is chosen later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checkpoint import Checkpoint, TensorInfo
from ..codec.quantise import Grid
from ..container.quantisation import Arrangement, Nested, Order, Quantisation, Scale, SecondRule
from ..container.records import record_numbers
from ..layouts import goes_with_quantised

SINGLE_GRIDS: Mapping[str, Grid] = {"F8_E4M3": "e4m3", "F8_E5M2": "e5m2", "I8": "int8"}
SMALL_DTYPES = (*SINGLE_GRIDS, "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4", "U8")
SCALE_NAMES = ("scale_weight", "weight_scale", "weight_scale_inv")
BLOCK_OF_NVFP4, BLOCK_OF_MX = 16, 32
UNIT_OF_SCB = float(np.float32(1 / 127))  # bitsandbytes stores the magnitude that becomes 127
LARGEST_STATE = 1 << 16  # bytes of JSON of a state of bitsandbytes
ORDERS: tuple[Order, ...] = ("low", "high")
ARRANGEMENTS: tuple[Arrangement, ...] = ("rows", "tiles")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class QuantisedTensor:
    """A tensor of quantised weights. `weights`: the name and the shape that they had before.

    `rules`: those that it may have been quantised by; none for an unknown scheme.
    """

    name: str
    weights: TensorInfo
    rules: tuple[Quantisation, ...]

    @property
    def companions(self) -> set[int]:
        """The record numbers of the tensors that the rules need, exactly as they are."""
        places: set[int | None] = set()
        for rule in self.rules:
            places |= {rule.values}
            if rule.scale is not None:
                places |= {rule.scale.tensor, rule.scale.second}
                nested = rule.scale.nested
                places |= set() if nested is None else {nested.values, nested.scales}
        return {place for place in places if place is not None}


def find_quantised(checkpoint: Checkpoint) -> Mapping[str, QuantisedTensor]:
    """Every tensor of a checkpoint that holds, or seems to hold, quantised weights; by name."""
    search = _Search(checkpoint, record_numbers(checkpoint.tensors))
    found = {}
    for info in checkpoint.tensors.values():
        if info.dtype in SMALL_DTYPES and info.elements and not goes_with_quantised(info.name):
            tensor = search.tensor(info)
            if tensor is not None:
                found[info.name] = tensor
    return found


def before_quantisation(
    tensors: Mapping[str, TensorInfo], quantised: Mapping[str, QuantisedTensor]
) -> tuple[Mapping[str, TensorInfo], Mapping[str, str]]:
    """The tensors as they were before, by the names that they had, and their own names by those."""
    seen, own_names = dict(tensors), {}
    for name, tensor in quantised.items():
        weights = tensor.weights
        if weights.name != name and weights.name in tensors:
            continue
        del seen[name]
        seen[weights.name] = weights
        own_names[weights.name] = name
    return seen, own_names


@dataclass(frozen=True)
class _Search:
    checkpoint: Checkpoint
    places: Mapping[str, int]

    def tensor(self, info: TensorInfo) -> QuantisedTensor | None:
        if info.dtype in SINGLE_GRIDS:
            rules = tuple(self._single(info))
            if rules:
                return QuantisedTensor(info.name, _weights(info.name, info.shape), rules)
        elif info.dtype == "U8":
            packed = self._nf4(info) or self._fp4(info)
            if packed is not None:
                return packed
        if self._has_companion(info.name) or (info.dtype != "U8" and len(info.shape) > 1):
            return QuantisedTensor(info.name, _weights(info.name, info.shape), ())
        return None

    def _has_companion(self, name: str) -> bool:
        stem = name.removesuffix("weight")
        words = ("comfy_quant", "SCB", "weight_packed", *SCALE_NAMES)
        names = [stem + word for word in words] + [f"{name}_scale", f"{name}.absmax"]
        return any(one in self.places and one != name for one in names)

    def _info(self, name: str, dtypes: tuple[str, ...]) -> TensorInfo | None:
        info = self.checkpoint.tensors.get(name)
        return info if info is not None and info.dtype in dtypes else None

    def _single(self, info: TensorInfo) -> Iterator[Quantisation]:
        """Rules of a tensor with one byte for each weight."""
        grid = SINGLE_GRIDS[info.dtype]
        stem = info.name.removesuffix("weight")
        shape = _matrix(info.shape)
        floats = ("F32", "F16", "BF16")
        for name in [stem + word for word in SCALE_NAMES] if stem != info.name else []:
            scale = self._info(name, (*floats, "U8", "F8_E8M0"))
            if scale is None:
                continue
            if scale.dtype in floats:
                yield from self._scaled(grid, shape, scale, 1.0)
            else:
                yield from self._in_blocks(grid, "low", shape, scale, BLOCK_OF_MX, None)
            return
        if grid == "int8":
            scale = self._info(f"{stem}SCB", floats)
            if scale is not None and scale.elements == shape[0]:
                yield from self._scaled(grid, shape, scale, UNIT_OF_SCB)
        elif not self._has_companion(info.name):
            yield Quantisation(grid, "low", shape[1], "divide", None, None)

    def _scaled(
        self, grid: Grid, shape: tuple[int, int], scale: TensorInfo, unit: float
    ) -> Iterator[Quantisation]:
        """One scale for all, for a row, or for a block of rows and columns; divided or multiplied."""
        place = self.places[scale.name]
        for block in _blocks(shape, scale.shape):
            of = Scale(place, *block, "rows", unit, None, "multiply", None)
            rule = Quantisation(grid, "low", shape[1], "divide", of, None)
            yield rule
            yield replace(rule, rule="multiply")

    def _in_blocks(
        self,
        grid: Grid,
        order: Order,
        shape: tuple[int, int],
        scale: TensorInfo,
        columns: int,
        second: tuple[int, SecondRule] | None,
    ) -> Iterator[Quantisation]:
        """A scale for `columns` weights of a row each, row by row or in tiles."""
        place = self.places[scale.name]
        for arrangement in ARRANGEMENTS:
            of = Scale(place, 1, columns, arrangement, 1.0, None, "multiply", None)
            if second is not None:
                of = replace(of, second=second[0], second_rule=second[1])
            rule = Quantisation(grid, order, shape[1], "divide", of, None)
            if rule.blocks(shape).scales == scale.elements:
                yield rule

    def _fp4(self, info: TensorInfo) -> QuantisedTensor | None:
        """NVFP4 and MXFP4: two codes in a byte, and a scale for each 16 or 32 weights of a row."""
        is_packed = info.name.endswith("weight_packed")
        stem = info.name.removesuffix("weight_packed" if is_packed else "weight")
        scale = self._info(f"{stem}weight_scale", ("F8_E4M3", "U8", "F8_E8M0"))
        if stem == info.name or scale is None or len(info.shape) != 2:
            return None
        shape = info.shape[0], 2 * info.shape[1]
        second, columns = None, BLOCK_OF_MX
        if scale.dtype == "F8_E4M3":
            second, columns = self._second(stem), BLOCK_OF_NVFP4
            if second is None:
                return None
        rules = tuple(
            rule
            for order in ORDERS
            for rule in self._in_blocks("e2m1", order, shape, scale, columns, second)
        )
        weights = _weights(f"{stem}weight", shape)
        return QuantisedTensor(info.name, weights, rules) if rules else None

    def _second(self, stem: str) -> tuple[int, SecondRule] | None:
        names: tuple[tuple[str, SecondRule], ...] = (
            ("weight_scale_2", "multiply"),
            ("weight_global_scale", "divide"),
        )
        for name, rule in names:
            found = self._info(stem + name, ("F32",))
            if found is not None and found.elements == 1:
                return self.places[found.name], rule
        return None

    def _nf4(self, info: TensorInfo) -> QuantisedTensor | None:
        """nf4 of bitsandbytes, whose state lies beside it as JSON."""
        state = self._state(f"{info.name}.quant_state.bitsandbytes__nf4")
        values = self._info(f"{info.name}.quant_map", ("F32",))
        scale = self._info(f"{info.name}.absmax", ("F32", "U8"))
        if state is None or values is None or values.elements != 16 or scale is None:
            return None
        shape, block = _shape(state.get("shape")), _count(state.get("blocksize"))
        if shape is None or block is None:
            return None
        total = math.prod(shape)
        if total != 2 * info.elements or scale.elements != -(-total // block):
            return None
        nested = None
        if scale.dtype == "U8":
            nested = self._nested(info.name, state, scale.elements)
            if nested is None:
                return None
        columns = _matrix(shape)[1]
        if columns % block:
            columns = total  # blocks go from row to row
        of = Scale(self.places[scale.name], 1, block, "rows", 1.0, None, "multiply", nested)
        place = self.places[values.name]
        rules = tuple(
            Quantisation("map", order, columns, "multiply", of, place) for order in reversed(ORDERS)
        )
        return QuantisedTensor(info.name, _weights(info.name, shape), rules)

    def _nested(self, name: str, state: Mapping[str, Any], count: int) -> Nested | None:
        values = self._info(f"{name}.nested_quant_map", ("F32",))
        scales = self._info(f"{name}.nested_absmax", ("F32",))
        block, offset = _count(state.get("nested_blocksize")), state.get("nested_offset")
        if values is None or scales is None or block is None or values.elements != 256:
            return None
        if scales.elements != -(-count // block) or not isinstance(offset, float):
            return None
        if not 0 <= offset < 1e30:
            return None
        return Nested(
            self.places[values.name], self.places[scales.name], block, float(np.float32(offset))
        )

    def _state(self, name: str) -> Mapping[str, Any] | None:
        info = self._info(name, ("U8",))
        if info is None or info.elements > LARGEST_STATE:
            return None
        try:
            found = json.loads(bytes(self.checkpoint.read(name)))
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


def _weights(name: str, shape: Shape) -> TensorInfo:
    return TensorInfo(name, "F32", shape)


def _matrix(shape: Shape) -> tuple[int, int]:
    """The rows and columns of weights of this shape."""
    rows = shape[0] if shape else 1
    return rows, math.prod(shape[1:])


def _blocks(shape: tuple[int, int], scales: Shape) -> Iterator[tuple[int, int]]:
    """The rows and columns that may share a scale: all, a row, or a block (as many as rows, perhaps)."""
    count = math.prod(scales)
    if count == 1:
        yield shape
        return
    row = 1, shape[1]
    if count == shape[0]:
        yield row
    if len(scales) != 2 or not all(scales):
        return
    rows, columns = (-(-side // of) for side, of in zip(shape, scales, strict=True))
    fits = (-(-shape[0] // rows), -(-shape[1] // columns)) == scales
    if fits and (rows, columns) != row:
        yield rows, columns


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None


def _shape(value: object) -> Shape | None:
    if not isinstance(value, list) or not 0 < len(value) <= 8:
        return None
    shape = tuple(side for side in map(_count, value) if side is not None)
    return shape if len(shape) == len(value) else None
