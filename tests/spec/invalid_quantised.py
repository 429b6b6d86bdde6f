"""The invalid golden containers of quantised weights: the rest of `invalid_merges`."""

from __future__ import annotations

import math
import struct
from typing import Any

from .exact import Json
from .invalid_casts import index
from .invalid_merges import INVALID
from .invalid_vectors import content, frames, header, patched

__all__ = ["INVALID"]  # with those of this module

SCALES, BLOCKS, GRIDS = "quantised-scales", "quantised-blocks", "quantised-grids"


def rule(name: str, number: str, tensor: str, of: str, **changed: Any) -> None:
    """Other fields of one quantisation."""

    def change(value: Json) -> None:
        told = value["tensors"][index(value, tensor)]["quantisation"]
        assert changed.keys() <= told.keys()
        told.update(changed)

    header(f"quantised-{name}", number, change, of=of)


def record(name: str, number: str, tensor: str, of: str, **changed: Any) -> None:
    """Other fields of one record."""
    header(
        f"quantised-{name}", number,
        lambda value: value["tensors"][index(value, tensor)].update(changed), of=of,
    )  # fmt: skip


record("new-rows", "R12", "by.F32", SCALES, new_rows=1)
record("dtype", "R12", "by.F32", SCALES, dtype="F8_E5M2")
record("shape", "V3", "by.F32", SCALES, shape=[8, 2])
record("no-codes", "R13", "by.F32", SCALES, shape=[0, 2])
rule("columns", "R13", "by.F32", SCALES, columns=5)
rule("columns-none", "F3", "by.F32", SCALES, columns=0)
rule("grid", "F5", "by.F32", SCALES, grid=5)
rule("unit-zero", "F3", "by.F32", SCALES, unit=0.0)
rule("unit-negative", "F6", "by.F32", SCALES, unit=-1.0)
rule("unit-nan", "F6", "by.F32", SCALES, unit=float("nan"))
rule("block-none", "F3", "by.F32", SCALES, block_rows=0)
rule("scale-far", "R14", "by.F32", SCALES, scale=2**53 - 1)
rule("scales-fewer", "R14", "by.F32", SCALES, block_columns=4)
rule("scales-more", "R14", "by.F32", SCALES, block_rows=4)
rule("scales-in-tiles", "R14", "by.F32", SCALES, arrangement="tiles")
rule("map-far", "R14", "map.cast", GRIDS, values=2**53 - 2)
rule("nested-block", "R14", "nested.map", BLOCKS, nested_block=2)


def other(name: str, tensor: str, of: str, field: str, named: str, more: int = 1) -> None:
    """Another record that is named, by its number plus `more`."""

    def change(value: Json) -> None:
        told = value["tensors"][index(value, tensor)]["quantisation"]
        assert field in told
        told[field] = index(value, named) + more

    header(f"quantised-{name}", "R14", change, of=of)


other("scale-itself", "by.F32", SCALES, "scale", "by.F32")
other("scale-dtype", "tiles.divide", BLOCKS, "second", "map")
other("second-dtype", "tiles.divide", BLOCKS, "second", "index")
other("map-of-more", "nested.map", BLOCKS, "values", "nested", 0)
other("nested-of-fewer", "nested.map", BLOCKS, "nested", "map")
other("nested-scales-of-more", "nested.map", BLOCKS, "nested_scales", "map", 0)


def base_dtype(value: Json) -> None:
    base = value["tensors"][index(value, "by.F32")]["base"][0]
    base.update(dtype="I32")


header("quantised-base-dtype", "R4", base_dtype, of=SCALES)
# The map is the first of the bytes.
for name, number in (("falls", -2.0), ("stays", -1.0), ("nan", math.nan), ("infinite", math.inf)):
    frames(
        f"quantised-map-{name}", "N5",
        content("bytes", patched(4, struct.pack("<f", number))), of=GRIDS,
    )  # fmt: skip
