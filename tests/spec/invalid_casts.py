"""The invalid golden containers of the feature `cast`: the rest of `invalid_trees`."""

from __future__ import annotations

import struct
from typing import Any

from .exact import Json
from .invalid_trees import INVALID
from .invalid_vectors import EXACTLY, content, frames, header, patched, place

__all__ = ["INVALID"]  # with those of this module

KINDS = "cast-kinds"
ONE = "z/same.F32"  # one of its casts


def index(value: Json, name: str) -> int:
    return [tensor["name"] for tensor in value["tensors"]].index(name)


def fields(name: str, rule: str, tensor: str, **changed: Any) -> None:
    """Other fields of one record; None takes one away."""

    def change(value: Json) -> None:
        record = value["tensors"][index(value, tensor)]
        record.update(changed)
        for field in [field for field, held in changed.items() if held is None]:
            del record[field]

    header(f"cast-{name}", rule, change, of=KINDS)


def made_of(name: str, rule: str, cast: str, other: str) -> None:
    """A cast of another record."""

    def change(value: Json) -> None:
        value["tensors"][index(value, cast)]["of"] = index(value, other)

    header(f"cast-of-{name}", rule, change, of=KINDS)


NAMED = "`requires` MUST hold `cast` exactly if a record is of the kind `cast`"
header("cast-not-named", NAMED, lambda h: h["requires"].remove("cast"), of=KINDS)
header("cast-not-there", NAMED, lambda h: h.update(requires=["cast"]))
header("cast-not-there-tree", NAMED, lambda h: h["requires"].insert(0, "cast"), of="tree-of-one")

PLACE = "`of` is the place of another record in `tensors`"
header(
    "cast-of-none", PLACE + ", not one behind the last",
    lambda h: h["tensors"][index(h, ONE)].update(of=len(h["tensors"])), of=KINDS,
)  # fmt: skip
fields("of-far", PLACE, ONE, of=2**53 - 1)
fields("of-negative", PLACE + ", from 0", ONE, of=-1)
fields("of-real", PLACE, ONE, of=1.0)
fields("of-name", PLACE, ONE, of="m/same")
fields("no-of", EXACTLY + "`of`", ONE, of=None)
fields("new-rows", EXACTLY + "in a cast", ONE, new_rows=1)
fields("reason", EXACTLY + "in a cast", ONE, reason="new")
made_of("itself", "the record's kind is not `cast` (so it is not the record itself)", ONE, ONE)
made_of("cast", "the record's kind is not `cast`", ONE, "z/same.F16")
made_of("cast-before", "the record's kind is not `cast`", ONE, "a/same.BF16")
made_of("shape", "Both records have the same `shape`", ONE, "m/dense")
made_of("shape-of-none", "Both records have the same `shape`", "scalar.F16", "nothing")
fields("dtype", "Both dtypes are delta dtypes", "z/raw.F32", dtype="I32")
fields("of-dtype", "Both dtypes are delta dtypes", "m/raw", dtype="U32")


def bytes_of_it(value: Json, contents: list[bytes]) -> None:
    number = place(value, "bytes")
    value["frames"][number]["parts"].append([index(value, ONE), 1])
    contents[number] += b"\0"


frames("cast-bytes", "Nothing in the payload belongs to a `cast`", bytes_of_it, of=KINDS)
# The first part of m/raw's bytes are those of 5 of its 48; new rows of m/low come before them.
for name, number in (("nan", 0x7FC00000), ("nan-signalling", 0xFF800001), ("infinite", 0x47800000)):
    frames(
        f"cast-of-{name}", "A NaN among w, and a finite w whose w' is infinite, is an error",
        content("bytes", patched(8, struct.pack("<I", number))), of=KINDS,
    )  # fmt: skip
