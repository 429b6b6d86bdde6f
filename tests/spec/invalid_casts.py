"""The invalid golden containers with casts: the rest of `invalid_trees`."""

from __future__ import annotations

import struct
from typing import Any

from .exact import Json
from .invalid_trees import INVALID
from .invalid_vectors import content, frames, header, patched, place

__all__ = ["INVALID"]  # with those of this module

KINDS = "cast-kinds"
ONE = "z/same.F32"  # one of its casts


def index(value: Json, name: str) -> int:
    return [tensor["name"] for tensor in value["tensors"]].index(name)


def fields(name: str, rule: str, tensor: str, **changed: Any) -> None:
    """Other fields of one record."""

    def change(value: Json) -> None:
        value["tensors"][index(value, tensor)].update(changed)

    header(f"cast-{name}", rule, change, of=KINDS)


def made_of(name: str, rule: str, cast: str, other: str) -> None:
    """A cast of another record."""

    def change(value: Json) -> None:
        value["tensors"][index(value, cast)]["of"] = index(value, other)

    header(f"cast-of-{name}", rule, change, of=KINDS)


header(
    "cast-of-none", "R10",
    lambda h: h["tensors"][index(h, ONE)].update(of=len(h["tensors"])), of=KINDS,
)  # fmt: skip
fields("of-far", "R10", ONE, of=2**53 - 1)
made_of("itself", "R10", ONE, ONE)
made_of("cast", "R10", ONE, "z/same.F16")
made_of("cast-before", "R10", ONE, "a/same.BF16")
made_of("shape", "R11", ONE, "m/dense")
made_of("shape-of-none", "R11", "scalar.F16", "nothing")
fields("dtype", "R11", "z/raw.F32", dtype="I32")
fields("of-dtype", "R11", "m/raw", dtype="U32")


def bytes_of_it(value: Json, contents: list[bytes]) -> None:
    number = place(value, "bytes")
    value["frames"][number]["parts"].append({"tensor": index(value, ONE), "count": 1})
    contents[number] += b"\0"


frames("cast-bytes", "M5", bytes_of_it, of=KINDS)
# The first part of m/raw's bytes are those of 5 of its 48; new rows of m/low come before them.
for name, number in (("nan", 0x7FC00000), ("nan-signalling", 0xFF800001), ("infinite", 0x47800000)):
    frames(
        f"cast-of-{name}", "N3",
        content("bytes", patched(8, struct.pack("<I", number))), of=KINDS,
    )  # fmt: skip
