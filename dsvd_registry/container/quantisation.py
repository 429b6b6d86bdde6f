"""Description of quantised weights in a record (spec/dsvd-container-v1.md, "Quantised weights")."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..checkpoint.tensor_info import TensorInfo
from ..codec.quantise import GRIDS, SCALE_RULES, Blocks, Grid, ScaleRule, code_bits
from ..errors import ContainerError
from . import limits
from .fields import FieldReader, FieldWriter

Order = Literal["low", "high"]
ORDERS: tuple[Order, ...] = get_args(Order)
Arrangement = Literal["rows", "tiles"]
ARRANGEMENTS: tuple[Arrangement, ...] = get_args(Arrangement)
SecondRule = Literal["multiply", "divide"]
SECOND_RULES: tuple[SecondRule, ...] = get_args(SecondRule)

CODE_DTYPES = {"e4m3": "F8_E4M3", "e5m2": "F8_E5M2", "int8": "I8", "e2m1": "U8", "map": "U8"}
"""The dtype of a tensor of codes, by grid."""

SCALE_DTYPES = ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "U8")
POWER_DTYPES = ("F8_E8M0", "U8")
"""Dtypes of scales that are powers of two, but for those that `Nested` explains."""
MAP_VALUES, NESTED_VALUES = 16, 256

FindRaw = Callable[[int], TensorInfo | None]


@dataclass(frozen=True)
class Nested:
    """Scales that are quantised themselves, to U8: an index into `values`, times that block's scale,
    plus `offset`.

    `values`, `scales`: record numbers, of 256 values and of one scale for each `block` of scales.
    """

    values: int
    scales: int
    block: int
    offset: float


@dataclass(frozen=True)
class Scale:
    """The scales of record `tensor`, one for each block of `rows` by `columns` weights.

    Each is multiplied by `unit`, and by (or divided by) the one number of record `second`, if any.
    """

    tensor: int
    rows: int
    columns: int
    arrangement: Arrangement
    unit: float
    second: int | None
    second_rule: SecondRule
    nested: Nested | None


@dataclass(frozen=True)
class Quantisation:
    """The rule that makes codes of weights, which form a matrix of `columns` columns.

    `order`: which half of a byte the first of two 4-bit codes takes. `values`: the record number of
    the 16 values of the grid `map`.
    """

    grid: Grid
    order: Order
    columns: int
    rule: ScaleRule
    scale: Scale | None
    values: int | None

    @property
    def bits(self) -> int:
        """The bits of a code."""
        return code_bits(self.grid)

    def scheme(self, tensors: Sequence[TensorInfo]) -> str:
        """The name that people know the scheme by, as far as the rule and its scales tell.

        `tensors`: those of the container's records, by their numbers.
        """
        scale = self.scale
        if self.grid == "map":
            return "nf4"
        if self.grid == "e2m1":
            return "nvfp4" if scale is not None and scale.second is not None else "mxfp4"
        if scale is None:
            return f"fp8 {self.grid}, no scale"
        name = "int8" if self.grid == "int8" else f"fp8 {self.grid}"
        if scale.rows > 1 and scale.columns >= self.columns:
            return f"{name}, one scale"
        # Scales that are powers of two are of blocks, also where a block is as wide as the matrix.
        is_power = tensors[scale.tensor].dtype in POWER_DTYPES
        if scale.columns >= self.columns and not is_power:
            return f"{name}, a scale a row"
        return f"{name}, a scale a block"

    def blocks(self, shape: tuple[int, int]) -> Blocks:
        """The blocks of the matrix of weights that have a scale each."""
        if self.scale is None:
            return Blocks(shape, max(1, shape[0]), max(1, shape[1]), False)
        tiled = self.scale.arrangement == "tiles"
        return Blocks(shape, self.scale.rows, self.scale.columns, tiled)


def write_quantisation(fields: FieldWriter, one: Quantisation) -> None:
    """Write the fields of a record's quantisation."""
    fields.code(one.grid, GRIDS)
    if one.bits == 4:
        fields.code(one.order, ORDERS)
    fields.uint(one.columns)
    fields.code(one.rule, SCALE_RULES)
    if one.values is not None:
        fields.uint(one.values)
    _write_place(fields, None if one.scale is None else one.scale.tensor)
    if one.scale is not None:
        fields.uint(one.scale.rows)
        fields.uint(one.scale.columns)
        fields.code(one.scale.arrangement, ARRANGEMENTS)
        fields.single(one.scale.unit)
        _write_place(fields, one.scale.second)
        if one.scale.second is not None:
            fields.code(one.scale.second_rule, SECOND_RULES)
        nested = one.scale.nested
        _write_place(fields, None if nested is None else nested.values)
        if nested is not None:
            fields.uint(nested.scales)
            fields.uint(nested.block)
            fields.single(nested.offset)


def _write_place(fields: FieldWriter, record: int | None) -> None:
    fields.uint(0 if record is None else record + 1)


def read_quantisation(fields: FieldReader) -> Quantisation:
    """Inverse of `write_quantisation`. Raises `ContainerError`."""
    grid = fields.code("the grid", GRIDS)
    order = fields.code("the order", ORDERS) if code_bits(grid) == 4 else "low"
    columns = fields.uint("the columns", 1)
    rule = fields.code("the rule", SCALE_RULES)
    values = fields.uint("the values", 0, limits.MAX_TENSORS) if grid == "map" else None
    return Quantisation(grid, order, columns, rule, _scale(fields), values)


def _place(fields: FieldReader, name: str) -> int | None:
    found = fields.uint(name, 0, limits.MAX_TENSORS)
    return found - 1 if found else None


def _scale(fields: FieldReader) -> Scale | None:
    tensor = _place(fields, "the scale")
    if tensor is None:
        return None
    rows, columns = fields.uint("a block's rows", 1), fields.uint("a block's columns", 1)
    arrangement = fields.code("the arrangement", ARRANGEMENTS)
    unit = fields.single("the unit")
    if not unit:
        raise fields.fail("the unit of a scale is zero")
    second = _place(fields, "the second scale")
    rule = "multiply" if second is None else fields.code("the second rule", SECOND_RULES)
    values, nested = _place(fields, "the nested values"), None
    if values is not None:
        scales = fields.uint("the nested scales", 0, limits.MAX_TENSORS)
        block = fields.uint("the nested block", 1)
        nested = Nested(values, scales, block, fields.single("the offset"))
    return Scale(tensor, rows, columns, arrangement, unit, second, rule, nested)


def check_quantisation(one: Quantisation, tensor: TensorInfo, raw: FindRaw, where: str) -> None:
    """Check a quantisation against its tensor and the other records.

    `raw`: finds the record of a number, if it stores its tensor's own bytes. Raises `ContainerError`.
    """
    elements = tensor.elements * 8 // one.bits
    if tensor.dtype != CODE_DTYPES[one.grid]:
        raise ContainerError(f"{where}: codes of {one.grid} are no {tensor.dtype}")
    if not elements or elements % one.columns:
        raise ContainerError(f"{where}: its {elements} codes are no rows of {one.columns}")
    if one.values is not None:
        _check_place(one.values, ("F32",), MAP_VALUES, raw, where)
    if one.scale is None:
        return
    scale = one.scale
    count = one.blocks((elements // one.columns, one.columns)).scales
    dtypes = SCALE_DTYPES if scale.nested is None else ("U8",)
    _check_place(scale.tensor, dtypes, count, raw, where)
    if scale.second is not None:
        _check_place(scale.second, ("F32",), 1, raw, where)
    if scale.nested is not None:
        _check_place(scale.nested.values, ("F32",), NESTED_VALUES, raw, where)
        blocks = math.ceil(count / scale.nested.block) if count < 2**53 else 0
        _check_place(scale.nested.scales, ("F32",), blocks, raw, where)


def _check_place(place: int, dtypes: Sequence[str], count: int, raw: FindRaw, where: str) -> None:
    found = raw(place)
    if found is None:
        raise ContainerError(f"{where}: its scales are no raw record")
    if found.dtype not in dtypes or found.elements != count:
        raise ContainerError(f"{where}: {found.name!r} does not have {count} {'/'.join(dtypes)}")
