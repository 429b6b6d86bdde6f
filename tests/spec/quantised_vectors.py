"""The valid golden containers of quantised weights: the rest of `valid_vectors`."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from dsvd_registry.codec.quantise import Grid
from dsvd_registry.container.quantisation import Nested, Quantisation, Scale
from dsvd_registry.container.records import BaseTensor, View

from . import exact_codes
from .building import Recipe
from .exact import encoded
from .valid_vectors import VALID, vector

__all__ = ["VALID"]  # with those of this module

Rule = Callable[[Sequence[str]], Quantisation]
DTYPES = {"e4m3": "F8_E4M3", "e5m2": "F8_E5M2", "int8": "I8", "e2m1": "U8", "map": "U8"}
GRIDS: tuple[Grid, ...] = ("e4m3", "e5m2", "int8", "e2m1", "map")
# Ties, both zeros, subnormal numbers of the grids, what is over their largest, no numbers.
WEIGHTS = (
    *(0.0, -0.0, 1.0, -1.0, 1.0625, 1.1875, -2.5, 3.5, 5.0, -5.0, 0.75, 0.25),
    *(464.0, -480.0, 6e4, -1e30, 0.0009765625, -0.0029296875, 7.62939453125e-06, 1e-40),
    *(0.4999999701976776, -0.5000000596046448, 126.5, -128.5, 0.37, -0.11, math.inf, -math.inf),
    *(math.nan, 0.08, -0.3, 0.6),
)
MAP = (*(i / 8 - 1 for i in range(15)), 1.0)


def single(value: float) -> float:
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


def rule_of(grid: Grid, n: int, rule: str = "divide", **told: Any) -> Rule:
    """`told`: fields of the scale, where other records are told by their names; `order`, `values`."""
    order, values = told.pop("order", "low"), told.pop("values", None)

    def make(names: Sequence[str]) -> Quantisation:
        def place(name: str | None) -> int | None:
            return None if name is None else names.index(name)

        scale = None
        if told:
            nested = told.get("nested")
            if nested is not None:
                of, by, block, offset = nested
                nested = Nested(names.index(of), names.index(by), block, offset)
            scale = Scale(
                names.index(told["tensor"]),
                told["rows"],
                told["columns"],
                told.get("arrangement", "rows"),
                told.get("unit", 1.0),
                place(told.get("second")),
                told.get("second_rule", "multiply"),
                nested,
            )
        return Quantisation(grid, order, n, rule, scale, place(values))  # type: ignore[arg-type]

    return make


def add(
    recipe: Recipe,
    name: str,
    base: Sequence[BaseTensor],
    weights: Sequence[float],
    scales: Sequence[float],
    grid: Grid,
    n: int,
    rule: str = "divide",
    view: View = View(),  # noqa: B008 - frozen
    **told: Any,
) -> None:
    """A tensor of codes of these weights by these scales S, one for each."""
    order = told.get("order", "low") if grid in ("e2m1", "map") else ""
    codes = [
        exact_codes.code(w, exact_codes.usable(s), grid, rule, MAP)
        for w, s in zip(weights, scales, strict=True)
    ]
    data = exact_codes.packed(codes, order)
    if grid == "map":
        told["values"] = "map"
    of = rule_of(grid, n, rule, **told)
    shape = (len(data),) if len(data) % 2 else (len(data) // 2, 2)
    recipe.quantised(name, DTYPES[grid], shape, base, of, data, view)


@vector()
def quantised_grids() -> Recipe:
    """`quantised` of every grid, by both rules and without a scale, of weights of all kinds."""
    recipe = Recipe()
    base = recipe.hold("w", "F32", (len(WEIGHTS),), encoded(WEIGHTS, "F32"))
    weights = [single(w) for w in WEIGHTS]
    scale = single(0.7)
    recipe.raw("scale", "F32", (), encoded((scale,), "F32"))
    recipe.raw("map", "F32", (16,), encoded(MAP, "F32"))
    count = len(WEIGHTS)
    one: dict[str, Any] = {"tensor": "scale", "rows": 1, "columns": count}
    for grid in GRIDS:
        order = "high" if grid == "map" else "low"
        add(recipe, f"{grid}.cast", [base], weights, [1.0] * count, grid, count, order=order)
        for rule in ("divide", "multiply"):
            add(recipe, f"{grid}.{rule}", [base], weights, [scale] * count, grid, count, rule,
                order="high", **one)  # fmt: skip
    return recipe


ROWS, COLUMNS = 4, 8
MATRIX = [single(math.sin(i * 1.7) * (i % 5 + 0.25)) for i in range(ROWS * COLUMNS)]
# What a scale may be: usual ones, and 0, below 0, NaN, infinite, subnormal ones.
ODD = (0.5, 0.0, -1.0, math.nan, math.inf, 1e-40, 3e-39, 2.0)


@vector()
def quantised_scales() -> Recipe:
    """`quantised` with a scale for all, a row, a block; scales of every dtype, and none that is one."""
    recipe = Recipe()
    base = recipe.hold("w", "F32", (ROWS, COLUMNS), encoded(MATRIX, "F32"))
    rows = (0.5, 3.0, 0.0078125, 96.0)
    held = {"F32": encoded(rows, "F32"), "F16": encoded(rows, "F16"), "BF16": encoded(rows, "BF16")}
    held |= {"F8_E4M3": bytes((0x30, 0x44, 0x04, 0x6C)), "F8_E5M2": bytes((0x38, 0x42, 0x20, 0x56))}
    of_rows = [rows[i // COLUMNS] for i in range(len(MATRIX))]
    for dtype, data in held.items():
        recipe.raw(f"rows.{dtype}", dtype, (ROWS, 1), data)
        add(recipe, f"by.{dtype}", [base], MATRIX, of_rows, "e4m3", COLUMNS,
            tensor=f"rows.{dtype}", rows=1, columns=COLUMNS)  # fmt: skip
    powers = (125, 128, 0, 255)
    for dtype in ("F8_E8M0", "U8"):
        recipe.raw(f"rows.{dtype}", dtype, (4,), bytes(powers))
        of = [math.ldexp(1, powers[i // COLUMNS] - 127) if i < 24 else math.nan for i in range(32)]
        add(recipe, f"by.{dtype}", [base], MATRIX, of, "e5m2", COLUMNS, "multiply",
            tensor=f"rows.{dtype}", rows=1, columns=COLUMNS)  # fmt: skip
    recipe.raw("odd", "F32", (2, 4), encoded(ODD, "F32"))
    of = [single(ODD[i // COLUMNS // 2 * 4 + i % COLUMNS // 2]) for i in range(32)]
    for rule in ("divide", "multiply"):
        add(recipe, f"odd.{rule}", [base], MATRIX, of, "int8", COLUMNS, rule,
            tensor="odd", rows=2, columns=2)  # fmt: skip
    unit = single(1 / 127)
    of = [exact_codes.times(s, unit) for s in of_rows]
    add(recipe, "unit", [base], MATRIX, of, "int8", COLUMNS, "multiply",
        tensor="rows.F32", rows=1, columns=COLUMNS, unit=unit)  # fmt: skip
    return recipe


@vector()
def quantised_blocks() -> Recipe:
    """`quantised` to 4 bits: a second scale, scales in tiles, nested ones; a transposed base in F16."""
    recipe = Recipe()
    rows, columns = 2, 20
    weights = [exact_half(math.cos(i * 0.9) * (1 + i % 7)) for i in range(rows * columns)]
    turned = [weights[i * columns + j] for j in range(columns) for i in range(rows)]
    base = recipe.hold("w", "F16", (columns, rows), encoded(turned, "F16"))
    view = View("transpose")
    # A scale for 4 weights of a row: 2 by 5 of them, in two tiles of 128 by 4.
    tiles = bytearray(1024)
    found = []
    for r in range(2):
        for c in range(5):
            u = 0x30 + 3 * r + 2 * c
            tiles[512 * (c // 4) + 16 * r + c % 4] = u
            found.append(float(exact_codes.numbers("e4m3")[u]))
    recipe.raw("tiles", "F8_E4M3", (128, 8), bytes(tiles))
    second = single(0.3)
    recipe.raw("second", "F32", (1,), encoded((second,), "F32"))
    of = [found[i // columns * 5 + i % columns // 4] for i in range(rows * columns)]
    for how, apply in (("multiply", exact_codes.times), ("divide", exact_codes.over)):
        add(recipe, f"tiles.{how}", [base], weights, [apply(s, second) for s in of], "e2m1", columns,
            view=view, order="low" if how == "divide" else "high", tensor="tiles", rows=1, columns=4,
            arrangement="tiles", second="second", second_rule=how)  # fmt: skip
    index = bytes((7, 255, 0, 128, 9, 200, 31, 64, 1, 3))
    table = [single(i / 300 - 0.2) for i in range(256)]
    by = (0.75, 2.5, 1.25)
    offset = single(0.4)
    recipe.raw("map", "F32", (16,), encoded(MAP, "F32"))
    recipe.raw("index", "U8", (10,), index)
    recipe.raw("nested", "F32", (256,), encoded(table, "F32"))
    recipe.raw("nested.by", "F32", (3,), encoded(by, "F32"))
    scales = []
    for i, u in enumerate(index):
        s = exact_codes.times(table[u], by[i // 4])
        scales.append(exact_codes.single(exact_codes.Fraction(s) + exact_codes.Fraction(offset)))
    count = rows * columns
    add(recipe, "nested.map", [base], weights, [scales[i // 4] for i in range(count)], "map", count,
        "multiply", view, order="high", tensor="index", rows=1, columns=4,
        nested=("nested", "nested.by", 4, offset))  # fmt: skip
    return recipe


def exact_half(value: float) -> float:
    found: float = struct.unpack("<e", struct.pack("<e", value))[0]
    return found
