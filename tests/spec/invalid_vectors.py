"""The invalid golden containers: each a valid one in which one rule of the spec is broken.

Every digest, and the recorded result, are made to fit again (see sealing.py), so that a reader which
overlooks the rule has nothing else to stumble on.
"""

from __future__ import annotations

import copy
import hashlib
import struct
from collections.abc import Callable
from typing import Any

import zstandard

from . import sealing
from .building import Built, Recipe
from .exact import Component, Json
from .header_bytes import text, uint
from .sealing import (
    header_bytes_of,
    payload_of,
    sealed,
    with_frames,
    with_header,
    with_zstd,
    zstd,
)

Set = dict[str, Built]
Make = Callable[[Built], bytes]

# Name: the valid vector it is made from, which error it is, the number of the rule, and how.
INVALID: dict[str, tuple[str, str, str, Make]] = {}


def add(name: str, rule: str, make: Make, *, of: str = "small", error: str = "container") -> None:
    """`error`: container, unsupported, base or result."""
    assert name not in INVALID
    INVALID[name] = of, error, rule, make


def header(
    name: str, rule: str, change: Callable[[Json], object], *, of: str = "small", **more: Any
) -> None:
    add(name, rule, lambda built: with_header(built, change), of=of, **more)


def record(name: str, rule: str, tensor: str, /, *, of: str = "small", **fields: Any) -> None:
    """Fields of one record."""

    def change(value: Json) -> None:
        found = next(t for t in value["tensors"] if t["name"] == tensor)
        assert fields.keys() <= found.keys()
        found.update(fields)

    header(name, rule, change, of=of)


def based(name: str, rule: str, tensor: str, /, *, of: str = "small", **fields: Any) -> None:
    """Fields of the first base tensor of one record."""
    error = fields.pop("error", "container")

    def change(value: Json) -> None:
        next(t for t in value["tensors"] if t["name"] == tensor)["base"][0].update(fields)

    header(name, rule, change, of=of, error=error)


def frames(
    name: str, rule: str, change: Callable[[Json, list[bytes]], object], *, of: str = "small"
) -> None:
    add(name, rule, lambda built: with_frames(built, change), of=of)


def patch(name: str, rule: str, old: bytes, new: bytes, *, of: str = "small") -> None:
    """Other bytes in the header, at the only place where `old` stands."""

    def make(built: Built) -> bytes:
        data = header_bytes_of(built.file)
        assert data.count(old) == 1, (name, data.count(old))
        return sealed(data.replace(old, new), payload_of(built.file))

    add(name, rule, make, of=of)


def place(value: Json, content: str) -> int:
    """The first frame of a content."""
    return next(i for i, frame in enumerate(value["frames"]) if frame["content"] == content)


def content(kind: str, change: Callable[[bytes], bytes]) -> Callable[[Json, list[bytes]], None]:
    def edit(value: Json, contents: list[bytes]) -> None:
        number = place(value, kind)
        changed = change(contents[number])
        assert changed != contents[number]
        contents[number] = changed

    return edit


def patched(offset: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda old: old[:offset] + new + old[offset + len(new) :]


# Prologue


def _prologue(**fields: int) -> Make:
    return lambda built: sealed(header_bytes_of(built.file), payload_of(built.file), **fields)


add("magic", "P1", lambda b: b"\x88" + b.file[1:])
add("magic-line-ends", "P1", lambda b: b.file.replace(b"\r\n", b"\n", 1))
add("no-byte", "P1", lambda b: b.file[:0])
add("short-prologue", "P2", lambda b: b.file[:55])
add("version", "P3", _prologue(version=2), error="unsupported")
add("zero-at-20", "P4", _prologue(zero=1))
add("stored-over-limit", "P5", _prologue(stored=2**26 + 2**20 + 1))
add("stored-over-file", "P7", _prologue(stored=2**24))
add("header-digest", "P8", _prologue(digest=1))


def _header_size(size: int) -> Make:
    def make(built: Built) -> bytes:
        stored = zstd(header_bytes_of(built.file))
        return sealing.prologue(stored, size) + stored + payload_of(built.file)

    return make


add("header-over-limit", "P5", _header_size(2**26 + 1))
add("header-over-its-stored", "P6", _header_size(2**22 + 1))
add("header-size", "Z2", _header_size(1000))
add("cut", "M10", lambda b: b.file[:-1])
add("cut-in-header", "P7", lambda b: b.file[:200])
add("followed", "M10", lambda b: b.file + b"\0")
add("bit-in-header", "P8", lambda b: b.file[:100] + bytes([b.file[100] ^ 4]) + b.file[101:])
add("bit-in-payload", "M11", lambda b: b.file[:-9] + bytes([b.file[-9] ^ 1]) + b.file[-8:])

# Compression


def in_header(name: str, rule: str, change: Callable[[bytes], bytes]) -> None:
    def make(built: Built) -> bytes:
        data = header_bytes_of(built.file)
        stored = change(data)
        return sealing.prologue(stored, len(data)) + stored + payload_of(built.file)

    add(f"header-{name}", rule, make)


def in_frame(name: str, rule: str, change: Callable[[bytes], bytes], number: int = -1) -> None:
    add(f"frame-{name}", rule, lambda built: with_zstd(built, number, change))


def window(log: int) -> Callable[[bytes], bytes]:
    """One stored block in a frame with a window of its own, 2^log bytes."""

    def change(data: bytes) -> bytes:
        block = struct.pack("<I", len(data) << 3 | 1)[:3]
        descriptor = bytes([(log - 10) << 3])
        return b"\x28\xb5\x2f\xfd\x80" + descriptor + struct.pack("<I", len(data)) + block + data

    return change


def _dictionary(data: bytes) -> bytes:
    words = zstandard.ZstdCompressionDict(b"dictionary" * 20 + data)
    trained = zstandard.ZstdCompressor(dict_data=words).compress(data)
    # A raw dictionary has no number: give the frame the field, with the number 7.
    assert trained[4] & 3 == 0
    size = 1 if trained[4] & 0x20 else 2
    return (
        trained[:4]
        + bytes([trained[4] | 1])
        + (trained[5 : 4 + size] + b"\7" + trained[4 + size :])
    )


def _wrong_checksum(data: bytes) -> bytes:
    stored = zstd(data, write_checksum=True)
    return stored[:-1] + bytes([stored[-1] ^ 1])


SKIPPABLE = b"\x50\x2a\x4d\x18\1\0\0\0x"
for where in (in_header, in_frame):
    where("no-zstd", "Z1", lambda data: b"\0" + zstd(data)[1:])
    where("skippable", "Z1", lambda data: SKIPPABLE + zstd(data))
    where("no-size", "Z2", lambda data: zstd(data, write_content_size=False))
    where("window", "Z3", window(28))
    where("dictionary", "Z4", _dictionary)
    where("content-checksum", "Z5", _wrong_checksum)
    where("zstd-cut", "Z5", lambda data: zstd(data)[:-1])
    where("zstd-followed", "Z6", lambda data: zstd(data) + b"\0")
    where("then-skippable", "Z6", lambda data: zstd(data) + SKIPPABLE)
    where("concatenated", "Z2", lambda data: zstd(data[:5]) + zstd(data[5:]))
    where("then-another", "Z6", lambda data: zstd(data) + zstd(b"more"))

# Fields


def _shorter(size: int) -> Make:
    return lambda b: sealed(header_bytes_of(b.file)[:size], payload_of(b.file))


for size in (0, 1, 20, 33, -1, -8, -33, -300):
    add(f"header-ends-{'before' if size < 0 else 'at'}-{abs(size)}", "F1", _shorter(size))
add(
    "header-longer", "F7",
    lambda b: sealed(header_bytes_of(b.file) + b"\0", payload_of(b.file)),
)  # fmt: skip
TAU = uint(750_000) + struct.pack("<d", 0.015)
patch("uint-longer", "F2", TAU, b"\xb0\xe3\xad\0" + TAU[3:])
patch("uint-much-longer", "F2", TAU, b"\xb0\xe3\xad\x80\x80\x80\0" + TAU[3:])
patch("uint-no-end", "F3", TAU, b"\xff" * 40 + TAU[3:])
SOURCE = text("safetensors") + hashlib.sha256(b"source").digest()
patch("size-2-53", "F3", SOURCE + uint(6), SOURCE + uint(2**53))
patch("size-2-56", "F3", SOURCE + uint(6), SOURCE + uint(2**56))
patch("size-2-63", "F3", SOURCE + uint(6), SOURCE + uint(2**63))
patch("size-needless-zero", "F2", SOURCE + uint(6), SOURCE + b"\x86\0")
NAMED = text("base") + text("safetensors")
for name, data in {
    "latin-1": b"b\xe9se", "overlong": b"b\xc1\xa1e", "surrogate": b"\xed\xa0\x80e",
    "cut": b"bas\xc3", "above-the-last": b"\xf4\x90\x80\x80", "continuation": b"\x80ase",
}.items():  # fmt: skip
    patch(f"text-{name}", "F4", NAMED, text(data) + text("safetensors"))
header("base-name-empty", "F4", lambda h: h["base"].update(name=""))
header("base-name-long", "F4", lambda h: h["base"].update(name="é" * 2049))
header("format-empty", "F4", lambda h: h["source"].update(format=""))
header("format-long", "F4", lambda h: h["source"].update(format="x" * 33))
for name, tensor, code in (
    ("kind", "dense", {"kind": 6}), ("dtype", "raw", {"dtype": 22}),
    ("dtype-255", "raw", {"dtype": 255}), ("reason", "raw", {"reason": 11}),
    ("view", "dense", {"view": {"kind": 5}}),
):  # fmt: skip

    def _code(value: Json, tensor: str = tensor, code: Json = code) -> None:
        found = next(t for t in value["tensors"] if t["name"] == tensor)
        found.update(code)

    header(f"code-of-{name}", "F5", _code)
header("code-of-aim", "F5", lambda h: h["encoding"]["aim"].update(kind=3))
header("code-of-content", "F5", lambda h: h["frames"][0].update(content=6))
header("code-of-file", "F5", lambda h: h["tree"][0].update(kind=3), of="tree-kept")
INFINITE, NAN = float("inf"), float("nan")
for name, value in {"nan": NAN, "infinite": INFINITE, "negative": -0.5, "minus-zero": -0.0}.items():
    header(f"noise-{name}", "F6", lambda h, value=value: h["encoding"].update(grid_noise=value))
    record(f"nuclear-norm-{name}", "F6", "low", nuclear_norm=value)
    record(f"norm-{name}", "F6", "dense", norm=value)
    record(f"error-{name}", "F6", "low", error=value)
    record(f"base-norm-{name}", "F6", "low", base_norm=value)
patch("nan-signalling", "F6", TAU, TAU[:3] + bytes.fromhex("010000000000f07f"))

# Header

header("requires", "H1", lambda h: h.update(requires=["sharding"]), error="unsupported")
header("requires-two", "H1", lambda h: h.update(requires=["a", "b"]), error="unsupported")
add(
    "requires-first", "H1",
    lambda b: sealed(uint(1) + text("sharding") + b"\xff" * 64, payload_of(b.file)),
    error="unsupported",
)  # fmt: skip
header("requires-empty", "F4", lambda h: h.update(requires=[""]))
header("requires-long", "F4", lambda h: h.update(requires=["x" * 33]))
header("requires-many", "L4", lambda h: h.update(requires=["x"] * 65))
header("tau-0", "H2", lambda h: h["encoding"].update(tau=0))
header("tau-above-1", "H2", lambda h: h["encoding"].update(tau=10**6 + 1))


def aim(name: str, rule: str, of: str, **fields: Any) -> None:
    header(name, rule, lambda h: h["encoding"]["aim"].update(fields), of=of)


aim("max-error-0", "H3", "aim-exact", max_error=0.0)
aim("max-error-1", "H3", "aim-borders", max_error=1.0)
aim("max-error-nan", "F6", "aim-max-error", max_error=NAN)
aim("budget-0", "F3", "aim-budget", budget=0)
aim("budget-over-limit", "F3", "aim-budget", budget=2**53)
LEFT = [{"name": "x", "reason": ""}]
header("left-out-no-reason", "F4", lambda h: h.update(left_out=LEFT))
header("left-out-no-name", "F4", lambda h: h.update(left_out=[{"name": "", "reason": "y"}]))


def _all(value: Json) -> list[Json]:
    found: list[Json] = value["tensors"]
    return found


TWO = "same-less-than-a-byte"
header("tensor-order", "H6", lambda h: h["tensors"].reverse(), of=TWO)
header(
    "tensor-order-utf-16", "H6",
    lambda h: h["tensors"].sort(key=lambda t: t["name"].encode("utf-16-be")), of="names",
)  # fmt: skip
header("name-twice", "H6", lambda h: _all(h).append(copy.deepcopy(_all(h)[-1])), of=TWO)

# Records

record("name-empty", "F4", "F4", of=TWO, name="")
record("name-long", "F4", "F6", of=TWO, name="G" * 4097)
record("name-metadata", "R1", "F6", of=TWO, name="__metadata__")
record("name-null", "R1", "F6", of=TWO, name="F6\0")
record("shape-33", "L4", "raw", shape=[1] * 32 + [2])
record("shape-over-limit", "F3", "none", of="empty-and-scalar", shape=[2**53, 0])
record("shape-product", "R2", "none", of="empty-and-scalar", shape=[2**48, 2, 0])
record("half-a-byte", "R3", "F4", of=TWO, shape=[7])
record("low-rank-dtype", "R4", "low", dtype="I16")
record("dense-dtype", "R4", "dense", dtype="I32")
record("same-dtype", "R4", "rows", dtype="I8")
record("new-rows-all", "R5", "rows", new_rows=3)
record("new-rows-more", "R5", "rows", new_rows=2**53 - 1)
record("new-rows-scalar", "R5", "one.same", of="empty-and-scalar", new_rows=1)
record("low-rank-vector", "R6", "low", shape=[6])
record("rank-zero", "F3", "low", rank=0)
record("rank-above", "R6", "low", rank=3)
record("tau-rank-zero", "F3", "low", tau_rank=0)
record("tau-rank-above", "R6", "low", tau_rank=3)
record("noise-rank-above", "R6", "low", noise_rank=3)
record("nuclear-norm-0", "R7", "low", nuclear_norm=0.0)


def _dense_of_nothing(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none")
    found.update(kind="dense", exponent=0, maximum=1, base_norm=0.0, norm=0.0, error=0.0)


header("dense-of-nothing", "R8", _dense_of_nothing, of="empty-and-scalar")
record("exponent-low", "R9", "dense", exponent=-127)
record("exponent-lowest", "R9", "dense", exponent=-128)
record("exponent-high", "R9", "dense", exponent=119)
record("maximum-zero", "F3", "dense", maximum=0)
record("maximum-over-limit", "F3", "dense", maximum=2**31)

# Base tensors and views

record("no-base-tensor", "L4", "dense", base=[])


def _many_bases(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none.concatenate")
    found["base"] = found["base"][:1] * 65


header("base-tensors-65", "L4", _many_bases, of="empty-and-scalar")
based("base-tensor-metadata", "R1", "low", name="__metadata__")
based("base-tensor-null", "R1", "low", name="a\0b")
based("base-tensor-no-name", "F4", "low", name="")
based("base-shape-product", "R2", "none", of="empty-and-scalar", shape=[0, 2**48, 2])
based("base-half-a-byte", "R3", "F4", of=TWO, shape=[7])
based("base-dtype", "B1", "dense", dtype="BF16", error="base")
based("base-digest", "B1", "dense", sha256="00" * 32, error="base")
based("base-size", "B2", "I16.slice", of="same-odd-dtypes", shape=[4, 2])
record("view-elements", "V3", "dense", shape=[5])
record("transpose-of-1", "V2", "dense", view={"kind": "transpose"})
record("concatenate-of-one", "V1", "dense", view={"kind": "concatenate"})


def _two_bases(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none")
    found["base"] = found["base"] * 2


header("reshape-of-two", "V1", _two_bases, of="empty-and-scalar")
record(
    "slice-outside", "V2", "dense.slice", of="views", view={"kind": "slice", "first": 3, "rows": 2}
)
record(
    "slice-far-outside", "V2", "dense.slice", of="views",
    view={"kind": "slice", "first": 2**53 - 1, "rows": 2},
)  # fmt: skip
EMPTY: Json = {"of": "empty-and-scalar"}
record("slice-of-no-row", "F3", "none", view={"kind": "slice", "first": 0, "rows": 0}, **EMPTY)
record("slice-of-scalar", "V2", "one.same", view={"kind": "slice", "first": 0, "rows": 1}, **EMPTY)


def _unequal(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "dense.concatenate")
    found["base"][1]["shape"] = [3, 1]


header("concatenate-unequal", "V2", _unequal, of="views")


def _two_dtypes(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none.concatenate")
    found["base"][1] = found["base"][0] | {"name": "none.F32", "dtype": "F32"}


header("concatenate-dtypes", "V2", _two_dtypes, of="empty-and-scalar")
record("transpose-F4", "V4", "F4", of=TWO, view={"kind": "transpose"})
record("roll-of-no-row", "F3", "dense.roll", of="views", view={"kind": "roll", "first": 0})
record("roll-outside", "V2", "dense.roll", of="views", view={"kind": "roll", "first": 4})
record("roll-of-scalar", "V2", "one.same", view={"kind": "roll", "first": 1}, **EMPTY)
record("roll-F4", "V4", "F4", of=TWO, view={"kind": "roll", "first": 1})
record("slice-F4", "V4", "F4", of=TWO, view={"kind": "slice", "first": 0, "rows": 2})

# Frames

header("raw-zero", "F3", lambda h: h["frames"][0].update(raw=0))
header("raw-over-limit", "F3", lambda h: h["frames"][-1].update(raw=2**26 + 1))
header("raw-of-few-bytes", "M7", lambda h: h["frames"][-1].update(raw=5 * 2**22 + 1))
header("stored-zero", "F3", lambda h: h["frames"][0].update(stored=0))
header("frame-over-limit", "F3", lambda h: h["frames"][0].update(stored=2**26 + 2**20 + 1))
header("frame-digest", "M11", lambda h: h["frames"][0].update(sha256="0" * 64))
header("raw-not-its-frame", "M6", lambda h: h["frames"][-1].update(raw=h["frames"][-1]["raw"] + 1))


def _reordered(value: Json, contents: list[bytes]) -> None:
    value["frames"].reverse()
    contents.reverse()


frames("frame-order", "M1", _reordered)


def _part(tensor: int, count: int) -> Json:
    return {"tensor": tensor, "count": count}


header("part-of-nothing", "M3", lambda h: h["frames"][0].update(parts=[_part(99, 2)]))
header("part-far-away", "M3", lambda h: h["frames"][0].update(parts=[_part(2**53 - 1, 2)]))
header("part-count-zero", "F3", lambda h: h["frames"][0]["parts"].insert(0, _part(0, 0)))
header("no-parts", "M2", lambda h: h["frames"][0].update(parts=[]))


def dropped(kind: str) -> Callable[[Json, list[bytes]], None]:
    def change(value: Json, contents: list[bytes]) -> None:
        number = place(value, kind)
        del value["frames"][number], contents[number]

    return change


def doubled(kind: str) -> Callable[[Json, list[bytes]], None]:
    def change(value: Json, contents: list[bytes]) -> None:
        number = place(value, kind)
        value["frames"].insert(number, copy.deepcopy(value["frames"][number]))
        contents.insert(number, contents[number])

    return change


def one_more_byte(kind: str) -> Callable[[Json, list[bytes]], None]:
    return content(kind, lambda data: data + b"\0")


for kind in ("tables", "elements", "bytes", "components"):
    frames(f"no-{kind}", "M4", dropped(kind))
    frames(f"{kind}-twice", "M4", doubled(kind))
    frames(f"{kind}-raw", "M6", one_more_byte(kind))


def _foreign(value: Json, contents: list[bytes]) -> None:
    number = place(value, "elements")
    value["frames"].insert(number, copy.deepcopy(value["frames"][number]))
    value["frames"][number]["parts"][0]["tensor"] = 2  # a raw record
    contents.insert(number, contents[number])


frames("elements-of-raw", "M5", _foreign)


def source_header_of(change: Callable[[bytes], bytes]) -> Callable[[Json, list[bytes]], None]:
    return content("source_header", change)


LOSSY: Json = {"of": "source-lossy"}
frames("source-header-twice", "M8", doubled("source_header"), **LOSSY)
header(
    "source-header-parts", "M2",
    lambda h: h["frames"][place(h, "source_header")].update(parts=[_part(0, 1)]), **LOSSY,
)  # fmt: skip
frames(
    "source-header-over-limit", "M9",
    source_header_of(lambda data: data + b" " * (2**24 + 1 - len(data))), **LOSSY,
)  # fmt: skip
frames(
    "source-header-values", "S3",
    source_header_of(lambda data: data.replace(b"{", b'{"x":[%b1],' % (b"1," * 2**14), 1)), **LOSSY,
)  # fmt: skip

# Component tables: the tensor `low`, two components


def table(name: str, rule: str, offset: int, new: bytes) -> None:
    frames(f"table-{name}", rule, content("tables", patched(offset, new)))


def planes(*values: int) -> bytes:
    return b"".join(bytes(v >> 8 * p & 255 for v in values) for p in range(4))


def singular(*values: float) -> bytes:
    return planes(*(struct.unpack("<I", struct.pack("<f", v))[0] for v in values))


table("s-rises", "T1", 18, singular(0.5, 2.0))
table("s-zero", "T1", 18, singular(2.0, 0.0))
table("s-negative", "T1", 18, singular(-1.0, -2.0))
table("s-infinite", "T1", 18, singular(INFINITE, 0.5))
table("s-nan", "T1", 18, singular(NAN, 0.5))
table("a-zero", "T2", 2, planes(4, 0))
table("b-zero", "T2", 10, planes(0, 3))
table("a-over-limit", "T2", 2, planes(4, 2**31))
table("b-over-limit", "T2", 10, planes(2**32 - 1, 3))


def _lower(e: int) -> Make:
    """The second component far below the first, which is as far down: no other rule is broken."""

    def change(value: Json, contents: list[bytes]) -> None:
        number = place(value, "tables")
        contents[number] = bytes([e + 256, e + 256]) + contents[number][2:]

    return lambda built: with_frames(built, change)


add("table-exponent-127", "T3", _lower(-127))
add("table-exponent-128", "T3", _lower(-128))
table("exponent-high", "T3", 0, bytes([121, 121]))
table("bound", "T4", 0, bytes([60, 10]))
# Of one width, and in one order; B is another, and larger, so that I1 holds.
table("a-other", "I2", 2, planes(5, 7))
table("b-other", "I2", 10, planes(6, 3))
table("a-digits", "M6", 2, planes(2, 7))
table("a-wide", "M6", 2, planes(4, 8))
table("width", "M6", 2, planes(128, 7))


def _bound_of_2_53(built: Built) -> bytes:
    """K = 2^53 exactly, of a container that is else as it should be."""
    recipe = Recipe()
    base = recipe.hold("low", *built.base["low"])
    recipe.low_rank(
        "low", "F32", (3, 2), [base], [Component(-60, (2**23, 1, 0), (-(2**30), 3), 1.0)]
    )
    return recipe.build().file


add("bound-2-53", "T4", _bound_of_2_53)

# Rows
# Components of small: string 0 of b_1 (M = 3), a_0 (4, two bytes), b_0 (5), a_1 (7, two bytes).


def rows(
    name: str, rule: str, kind: str, change: Callable[[bytes], bytes], *, of: str = "small"
) -> None:
    frames(f"rows-{name}", rule, content(kind, change), of=of)


def strings(*ends: int, order: tuple[int, ...]) -> Callable[[bytes], bytes]:
    """Strings that end at `ends`, in another order."""
    return lambda data: b"".join(data[([0, *ends])[i] : ends[i]] for i in order)


rows("components-short", "M6", "components", lambda d: d[:2] + d[3:5])  # floor(L / D)
rows("components-under", "I2", "components", patched(1, bytes([6 + 9 * 5])))
rows("components-zero", "I2", "components", lambda data: bytes(len(data)))
rows("digit-behind", "I1", "components", patched(2, bytes([9])))
rows("digit-behind-last", "I1", "components", patched(5, bytes([14 + 15])))
rows("byte-over", "I1", "components", patched(3, bytes([10 + 11 * 2 + 121])))
rows("byte-over-behind", "I1", "components", patched(2, bytes([81])))
rows("byte-255", "I1", "components", patched(1, bytes([255])))

# Elements of rows-parts: e (M = 1, two bytes), both parts of d and f (2, two each), g (3, four).
PARTS: Json = {"of": "rows-parts"}
rows("elements-raw", "M6", "elements", lambda data: data + b"\0", **PARTS)
rows("elements-under", "I3", "elements", patched(4, bytes([0 + 5 + 25 * 2])), **PARTS)
rows("elements-over", "I3", "elements", patched(6, b"\2"))
rows("elements-digit-behind", "I1", "elements", patched(5, bytes([7 + 25])), **PARTS)
rows("elements-digit-behind-part", "I1", "elements", patched(3, bytes([2 + 5])), **PARTS)
rows("elements-byte-over", "I1", "elements", patched(0, bytes([11 + 243])), **PARTS)
rows(
    "elements-joined", "M6", "elements",
    lambda data: data[:2] + bytes((2 + 25, 2 + 25 * 3, 4 + 5 * 2 + 25)) + data[6:], **PARTS,
)  # fmt: skip
record("rows-maximum-other", "I3", "g", of="rows-parts", maximum=4)  # B is another
record("rows-maximum-digits", "M6", "f", of="rows-parts", maximum=1)

# Components of rows-planes, four bytes a string: (p, M) of (0, 8) (0, 9) (0, 300) (0, 40000)
# (1, 300) (1, 40000) (2, 40000); the rows have the maxima 300, 9, 8, 40000.
ENDS = tuple(range(4, 29, 4))
PLANES: Json = {"of": "rows-planes"}
rows("plane-under", "I2", "components", patched(1, b"\2"), **PLANES)
rows("plane-over", "I2", "components", patched(1, b"\x11"), **PLANES)
for name, order in {
    "rows": (2, 1, 0, 3, 4, 5, 6),  # by p, then of rows
    "falling": (3, 2, 1, 0, 5, 4, 6),  # by p, then falling by M
    "maximum-first": (0, 1, 2, 4, 3, 5, 6),  # by M, then by p
    "row-by-row": (2, 4, 1, 0, 3, 5, 6),
    "side-by-side": (2, 1, 4, 0, 3, 5, 6),  # the planes of a, then those of b
}.items():
    rows(f"order-{name}", "I2", "components", strings(*ENDS, order=order), **PLANES)
# Components of rows-classes: (p, M) of (0, 33) (0, 32) (0, 255) (0, 240) (1, 255) (1, 240).
rows(
    "order-magnitude", "I2", "components",
    strings(4, 8, 12, 16, 20, 24, order=(1, 0, 3, 2, 5, 4)), of="rows-classes",
)  # fmt: skip
# Components of rows-interleaved begin with rows of M = 1; the second and the third have L = 5.
add(
    "rows-order-equal", "X3",
    lambda b: with_frames(b, content("components", strings(1, 2, 3, 83, order=(0, 2, 1, 3)))),
    of="rows-interleaved", error="result",
)  # fmt: skip

# Reconstruction


def _other_base(tensor: str, name: str) -> Make:
    def make(built: Built) -> bytes:
        digest = hashlib.sha256(built.base[name][2]).hexdigest()

        def change(value: Json) -> None:
            found = next(t for t in value["tensors"] if t["name"] == tensor)
            found["base"][0] = {"name": name, "dtype": "F32", "shape": [3, 2], "sha256": digest}

        return with_header(built, change)

    return make


add("infinite-base", "N2", _other_base("low", "not finite"))
add("nan-base", "N2", _other_base("dense", "not a number"))


def _cast(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "F16.reshape")
    found["dtype"] = "BF16"


header("nan-cast", "N1", _cast, of="same-bits")
record("overflow-dense", "N2", "dense.F32", of="near-overflow", exponent=104)
record("overflow-half", "N2", "dense.F16", of="near-overflow", exponent=0)

# Result files

add(
    "result-size", "X1",
    lambda b: with_header(b, lambda h: h["results"][0].update(size=8), refit=False),
)  # fmt: skip
add(
    "result-sha256", "X3",
    lambda b: with_header(b, lambda h: h["results"][0].update(sha256="0" * 64), refit=False),
    error="result",
)  # fmt: skip
AGAIN: Json = {"of": "source-again"}
header("not-the-source-sha256", "X2", lambda h: h["source"].update(sha256="0" * 64), **AGAIN)
header(
    "not-the-source-size", "X2", lambda h: h["source"].update(size=h["source"]["size"] + 1), **AGAIN
)


def source(name: str, rule: str, old: bytes, new: bytes) -> None:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    frames(f"source-{name}", rule, source_header_of(change), **LOSSY)


source("no-brace", "S1", b"{", b"[{")
source("no-json", "S1", b"}", b",}")
source("byte-order-mark", "S1", b"{", b"\xef\xbb\xbf{")
source("vertical-tab", "S1", b"{", b"\x0b{")
source("no-utf-8", "S1", b'"title"', b'"\xff"')
source("overlong", "S1", b'"title"', b'"\xc1\xa1"')
source("key-twice", "S1", b'"zz": ""', b'"title": ""')
source("half-surrogate", "S1", b'"zz": ""', b'"zz": "\\udc00"')
source("control-character", "S1", b'"zz": ""', b'"zz": "\x01"')
source("metadata", "S1", b'"zz": ""', b'"zz": 1')
source("metadata-array", "S1", b'"__metadata__": {', b'"__metadata__": [], "x": {')
source("deep", "S1", b'"zz": ""', b'"zz": ' + b"[" * 9000 + b"]" * 9000)
source("field", "S1", b'"dtype": "U8"', b'"dtype": "U8", "x": 1')
source("real", "S1", b"24,", b"24.0,")
source("exponent", "S1", b"24,", b"24e0,")
source("needless-zero", "S1", b"24,", b"024,")
source("minus-zero", "S1", b"0,", b"-0,")
source("nan", "S1", b"24,", b"NaN,")
source("three-offsets", "S1", b"24,", b"24, 24,")
source("size", "S1", b'"shape": [\r\n\t   3', b'"shape": [\r\n\t   2')
source("name-null", "S1", b'"raw"', b'"ra\\u0000"')
source("dtype", "S2", b'"dtype": "U8"', b'"dtype": "I8"')
source("name", "S2", b'"raw"', b'"row"')
GAP = b'"data_offsets": [\r\n\t   24,\r\n\t   27'
source("gap", "S1", GAP, GAP.replace(b"24", b"25").replace(b"27", b"28"))
source("overlap", "S1", GAP, GAP.replace(b"24", b"23").replace(b"27", b"26"))

# Limits


def _listed(count: int) -> Callable[[Json], object]:
    return lambda h: h.update(left_out=[{"name": "x", "reason": "y"}] * count)


header("entries", "L1", _listed(70_000))
header("left-out-over-limit", "L4", _listed(2**17 + 1))


def _dimensions(value: Json) -> None:
    value["tensors"] = [
        {"kind": "raw", "name": f"{i:04d}", "dtype": "U8", "shape": [0] * 32, "reason": "new"}
        for i in range(4200)
    ]
    value["frames"] = []


header("dimensions", "L2", _dimensions, of="aim-no-tensor")


def _components(count: int) -> Make:
    """Equal components compress to almost nothing."""

    def change(value: Json, contents: list[bytes]) -> None:
        index = [t["name"] for t in value["tensors"]].index("low")
        value["tensors"][index].update(rank=count, tau_rank=1, noise_rank=0, shape=[2**18, 2**18])
        value["tensors"][index]["base"][0]["shape"] = [2**18, 2**18]
        for kind in ("tables", "components"):
            for part in value["frames"][place(value, kind)]["parts"]:
                part["count"] = count if part["tensor"] == index else part["count"]
        one = contents[place(value, "tables")]
        contents[place(value, "tables")] = b"".join(one[i : i + 1] * count for i in range(0, 26, 2))

    return lambda built: with_frames(built, change)


add("components-of-few-bytes", "L3", _components(2**16 + 2000))
