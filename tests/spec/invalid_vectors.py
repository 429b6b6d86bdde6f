"""The invalid golden containers: each a valid one in which one rule of the spec is broken.

Every checksum, and the recorded result, are made to fit again (see sealing.py). FROZEN like the
valid ones: what is refused here stays refused.
"""

from __future__ import annotations

import copy
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import zstandard

from . import exact, sealing
from .building import Built
from .exact import Json
from .sealing import sealed, text_of, with_budget, with_frames, with_header, with_zstd, zstd

Set = dict[str, Built]
Make = Callable[[Built], bytes]

# Name: the valid vector it is made from, which error it is, the rule in the spec's words, and how.
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
    """Fields of one record; None takes one away."""

    def change(value: Json) -> None:
        found = next(t for t in value["tensors"] if t["name"] == tensor)
        for key, field in fields.items():
            if field is None:
                del found[key]
            else:
                found[key] = field

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


def spelled(name: str, rule: str, old: bytes, new: bytes, *, of: str = "small") -> None:
    """Another text of the same header, or of one that JSON lacks."""

    def make(built: Built) -> bytes:
        text = text_of(built.file)
        assert old in text
        return sealed(text.replace(old, new, 1), sealing.payload_of(built.file))

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

PROLOGUE = "Prologue: "


def _prologue(**fields: int) -> Make:
    return lambda built: sealed(text_of(built.file), sealing.payload_of(built.file), **fields)


add("magic", PROLOGUE + "the magic", lambda b: b"\x88" + b.file[1:])
add("magic-line-ends", PROLOGUE + "the magic", lambda b: b.file.replace(b"\r\n", b"\n", 1))
add("short-prologue", PROLOGUE + "that there are 32 bytes", lambda b: b.file[:31])
add("no-byte", PROLOGUE + "the magic", lambda b: b.file[:0])
add(
    "version", "Another format version is refused by its number", _prologue(version=2),
    error="unsupported",
)  # fmt: skip
add("zero-at-10", PROLOGUE + "bytes 10 and 11 are zero", _prologue(zero=1))
add("zero-at-20", PROLOGUE + "bytes 20 to 23 are zero", _prologue(zero2=1))
add("header-checksum", PROLOGUE + "XXH3 of bytes 0 to 23 and the header", _prologue(checksum=1))
add(
    "stored-over-limit", "S is at most 2^24 + 2^16 bytes",
    _prologue(stored=2**24 + 2**16 + 1),
)  # fmt: skip
add("stored-over-file", "The file has 32 + S bytes", _prologue(stored=2**24))


def _header_size(size: int) -> Make:
    def make(built: Built) -> bytes:
        stored = zstd(text_of(built.file))
        return sealing.prologue(stored, size) + stored + sealing.payload_of(built.file)

    return make


add("json-over-limit", "J is at most 2^24 bytes", _header_size(2**24 + 1))
header(
    "header-weight", "The weight of the header is at most 2^24",
    lambda h: h.update(left_out=[{"name": "x", "reason": "y"}] * 80_000),
)  # fmt: skip
add("json-size", "The header's zstd frame states the content size J", _header_size(1000))
add("cut", "The file ends with the last frame", lambda b: b.file[:-1])
add("cut-in-header", "The file has 32 + S bytes", lambda b: b.file[:200])
add("followed", "The file ends with the last frame", lambda b: b.file + b"\0")
add(
    "bit-in-header", "The header agrees with its XXH3",
    lambda b: b.file[:100] + bytes([b.file[100] ^ 4]) + b.file[101:],
)  # fmt: skip
add(
    "bit-in-payload", "A reader MUST check xxh3 of every frame that it uses",
    lambda b: b.file[:-9] + bytes([b.file[-9] ^ 1]) + b.file[-8:],
)  # fmt: skip

# Compression

COMPRESSION = "The header and every frame is exactly one zstd frame: "


def in_header(name: str, rule: str, change: Callable[[bytes], bytes]) -> None:
    def make(built: Built) -> bytes:
        text = text_of(built.file)
        stored = change(text)
        return sealing.prologue(stored, len(text)) + stored + sealing.payload_of(built.file)

    add(f"header-{name}", COMPRESSION + rule, make)


def in_frame(name: str, rule: str, change: Callable[[bytes], bytes], number: int = -1) -> None:
    add(f"frame-{name}", COMPRESSION + rule, lambda built: with_zstd(built, number, change))


def _window(log: int) -> Callable[[bytes], bytes]:
    """One stored block in a frame with a window of its own, 2^log bytes."""

    def change(data: bytes) -> bytes:
        block = struct.pack("<I", len(data) << 3 | 1)[:3]
        window = bytes([(log - 10) << 3])
        return b"\x28\xb5\x2f\xfd\x80" + window + struct.pack("<I", len(data)) + block + data

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
    where("no-zstd", "its magic number is 28 B5 2F FD", lambda data: b"\0" + zstd(data)[1:])
    where("no-size", "it states its content size", lambda d: zstd(d, write_content_size=False))
    where("dictionary", "it needs no dictionary", _dictionary)
    where("window", "its Window_Size is at most 2^27", _window(28))
    where("content-checksum", "a content checksum, if there is one, is right", _wrong_checksum)
    where("followed", "nothing follows it", lambda data: zstd(data) + b"\0")
    where("skippable", "skippable frames are refused", lambda data: SKIPPABLE + zstd(data))
    where("then-skippable", "skippable frames are refused", lambda data: zstd(data) + SKIPPABLE)
    where(
        "concatenated", "concatenated frames are refused",
        lambda data: zstd(data[:5]) + zstd(data[5:]),
    )  # fmt: skip
    where("cut", "it is whole", lambda data: zstd(data)[:-1])

# Canonical JSON

CANONICAL = "Canonical JSON: "
spelled("space", CANONICAL + "no white space", b'"tau":0.75', b'"tau": 0.75')
spelled("newline", CANONICAL + "no white space", b'{"base"', b'\n{"base"')
spelled(
    "key-twice",
    CANONICAL + "object keys each once",
    b'"requires":[]',
    b'"requires":[],"requires":[]',
)
spelled(
    "key-order", CANONICAL + "object keys in ascending order",
    b'"encoding":{"grid_noise":0.015,"tau":0.75}', b'"encoding":{"tau":0.75,"grid_noise":0.015}',
)  # fmt: skip
spelled("escape", CANONICAL + "one spelling for a string", b'"name":"base"', b'"name":"b\\u0061se"')
spelled("slash", CANONICAL + "one spelling for a string", b'"name":"base"', b'"name":"\\/"')
spelled("utf-8", CANONICAL + "in ASCII", b'"name":"base"', '"name":"é"'.encode())
spelled(
    "upper-case-escape", CANONICAL + "four lower-case digits", b'"name":"base"', b'"name":"\\u00E9"'
)
spelled(
    "half-surrogate",
    CANONICAL + "half a surrogate pair is refused",
    b'"name":"base"',
    b'"name":"\\ud800"',
)
spelled("real-zeros", CANONICAL + "the shortest decimal digits", b'"tau":0.75', b'"tau":0.750')
spelled("real-exponent", CANONICAL + "positional from 1e-4 to 1e16", b'"tau":0.75', b'"tau":7.5e-1')
spelled("integer-exponent", CANONICAL + "integers have no exponent", b'"size":6', b'"size":6e0')
spelled("integer-zero", CANONICAL + "no leading zero", b'"size":6', b'"size":06')
spelled("minus-zero", CANONICAL + "one spelling for an integer", b'"size":6', b'"size":-0')
spelled("nan", "Reals in the header are finite", b'"tau":0.75', b'"tau":NaN')
spelled(
    "infinity", "Reals in the header are finite", b'"grid_noise":0.015', b'"grid_noise":Infinity'
)
spelled("overflow", "Reals in the header are finite", b'"grid_noise":0.015', b'"grid_noise":1e999')
spelled("long-integer", "No integer has more than 16 digits", b'"size":6', b'"size":' + b"9" * 5000)
spelled(
    "deep",
    "Nothing in a header nests deeper than 8",
    b'"size":6',
    b'"size":' + b"[" * 99 + b"]" * 99,
)
spelled(
    "deepest", "Nothing in a header nests deeper than 8", b'"size":6', b'"size":' + b"[" * 100000
)
add(
    "byte-order-mark", CANONICAL + "in ASCII",
    lambda b: sealed(b"\xef\xbb\xbf" + text_of(b.file), sealing.payload_of(b.file)),
)  # fmt: skip
add(
    "utf-16", CANONICAL + "in ASCII",
    lambda b: sealed(text_of(b.file).decode().encode("utf-16-le"), sealing.payload_of(b.file)),
)  # fmt: skip
add("no-object", "The JSON is one object", lambda b: sealed(b"[]", sealing.payload_of(b.file)))

# Header

EXACTLY = "An unknown or missing field is refused: "
for name in ("base", "encoding", "frames", "left_out", "payload_sha256", "requires", "source"):
    header(f"no-{name}".replace("_", "-"), EXACTLY + name, lambda h, name=name: h.pop(name))
header("no-results", EXACTLY + "results", lambda h: h.pop("results"))
header("no-tensors", EXACTLY + "tensors", lambda h: h.pop("tensors"))
header("unknown-field", EXACTLY + "`time` in the header", lambda h: h.update(time=0))
header("unknown-base-field", EXACTLY + "in `base`", lambda h: h["base"].update(time=0))
header("unknown-source-field", EXACTLY + "in `source`", lambda h: h["source"].update(path="x"))
header("unknown-frame-field", EXACTLY + "in a frame", lambda h: h["frames"][0].update(offset=0))
header("unknown-result-field", EXACTLY + "in a result", lambda h: h["results"][0].update(mode=0))
record("unknown-record-field", EXACTLY + "in a record", "raw", view={"kind": "reshape"})
based("unknown-base-tensor-field", EXACTLY + "in a base tensor", "low", size=24)
record("missing-record-field", EXACTLY + "`rank` of a record", "low", rank=None)
REQUIRES = "A reader MUST refuse a name in `requires` that it does not know, by that name"
header("requires", REQUIRES, lambda h: h.update(requires=["sharding"]), error="unsupported")
header(
    "requires-first", "A reader MUST look at `requires` before any other field",
    lambda h: (h.update(requires=["sharding"], tensors=5), h.pop("base")), error="unsupported",
)  # fmt: skip
header("requires-order", "`requires` is ascending", lambda h: h.update(requires=["b", "a"]))
header("requires-no-string", "`requires` is an array of strings", lambda h: h.update(requires=[1]))
HEX = "SHA-256 and checksums are in lower-case hexadecimal"
header("upper-case-digest", HEX, lambda h: h["base"].update(digest="AB" * 32))
header("short-digest", "`digest` has 64 digits", lambda h: h["base"].update(digest="ab" * 31))
header("upper-case-xxh3", HEX, lambda h: h["frames"][0].update(xxh3="A" * 16))
header("no-base-name", "`name` is 1 to 4096 bytes of UTF-8", lambda h: h["base"].update(name=""))
LONG = "é" * 2049
header("long-base-name", "`name` is 1 to 4096 bytes", lambda h: h["base"].update(name=LONG))
header("tau-zero", "`tau` is in (0, 1]", lambda h: h["encoding"].update(tau=0.0))
header("tau-above-1", "`tau` is in (0, 1]", lambda h: h["encoding"].update(tau=1.0000000000000002))
header(
    "tau-integer",
    "An integer never stands where a real is due",
    lambda h: h["encoding"].update(tau=1),
)
header(
    "noise-below-zero", "Reals are not negative", lambda h: h["encoding"].update(grid_noise=-0.5)
)
header(
    "noise-minus-zero", "Reals have no minus sign", lambda h: h["encoding"].update(grid_noise=-0.0)
)
header(
    "size-real",
    "A real never stands where an integer is due",
    lambda h: h["source"].update(size=6.0),
)
header("size-negative", "A size is at least 0", lambda h: h["source"].update(size=-1))
header("size-over-limit", "Any size is at most 2^53 - 1", lambda h: h["source"].update(size=2**53))
header("size-true", "`size` is an integer", lambda h: h["source"].update(size=True))
header("format-empty", "`format` is 1 to 64 bytes", lambda h: h["source"].update(format=""))
header("format-long", "`format` is 1 to 64 bytes", lambda h: h["source"].update(format="x" * 65))
header(
    "left-out-empty",
    "`name` and `reason` are each 1 to 4096 bytes",
    lambda h: h.update(left_out=[{"name": "x", "reason": ""}]),
)
header("no-result", "Version 1 has exactly one result", lambda h: h.update(results=[]))
header(
    "two-results", "Version 1 has exactly one result", lambda h: h.update(results=h["results"] * 2)
)
header(
    "result-path",
    "The result is of the path `model.safetensors`",
    lambda h: h["results"][0].update(path="../model.safetensors"),
)
header(
    "tensor-order",
    "Records are ascending by the UTF-8 bytes of `name`",
    lambda h: h["tensors"].reverse(),
    of="same-less-than-a-byte",
)
header(
    "tensor-order-utf-16",
    "Records are ascending by the UTF-8 bytes of `name`",
    lambda h: h["tensors"].sort(key=lambda t: t["name"].encode("utf-16-be")),
    of="names",
)


def _last_twice(value: Json) -> None:
    value["tensors"].append(copy.deepcopy(value["tensors"][-1]))


header("name-twice", "No name of a record twice", _last_twice, of="same-less-than-a-byte")

# Records

record("name-empty", "`name` is 1 to 4096 bytes", "F4", of="same-less-than-a-byte", name="")
record("name-long", "`name` is 1 to 4096 bytes", "F6", of="same-less-than-a-byte", name="G" * 4097)
record(
    "name-metadata",
    "`name` is not `__metadata__`",
    "F6",
    of="same-less-than-a-byte",
    name="__metadata__",
)
record("dtype-unknown", "Dtypes are the names of the safetensors format", "raw", dtype="F128")
record("dtype-lower-case", "Dtypes are the names of the safetensors format", "raw", dtype="i16")
record("kind-unknown", "Every record has a `kind` of four", "raw", kind="sparse")
record("shape-33", "`shape` is an array of at most 32 integers", "raw", shape=[1] * 32 + [2])
record("shape-real", "`shape` is an array of integers", "raw", shape=[2.0])
record("shape-negative", "Any dimension is 0 to 2^53 - 1", "raw", shape=[-1, -2])
record(
    "shape-over-limit",
    "Any dimension is at most 2^53 - 1",
    "none",
    of="empty-and-scalar",
    shape=[2**53, 0],
)
record(
    "shape-product",
    "The product of the dimensions that are not 0, times 16, is at most 2^53 - 1",
    "none",
    of="empty-and-scalar",
    shape=[2**48, 2, 0],
)
record(
    "half-a-byte",
    "A tensor's size in bits MUST be a multiple of 8",
    "F4",
    of="same-less-than-a-byte",
    shape=[7],
)
record("reason-unknown", "Another reason is refused", "raw", reason="because")
DELTAS = (
    "`low_rank` and `dense`: the dtypes of the result and of all its base tensors are delta dtypes"
)
record("low-rank-dtype", DELTAS, "low", dtype="I16")
record("dense-dtype", DELTAS, "dense", dtype="I32")
record("same-dtype", "`same`: either all are delta dtypes or all are one dtype", "rows", dtype="I8")
record("new-rows-zero", "`new_rows` is an integer of at least 1", "rows", new_rows=0)
record("new-rows-all", "`new_rows` is less than `shape[0]`", "rows", new_rows=3)
record(
    "new-rows-scalar",
    "`new_rows`: `shape` is not `[]`",
    "one.same",
    of="empty-and-scalar",
    new_rows=1,
)
record("low-rank-vector", "`low_rank`: `shape` has two dimensions or more", "low", shape=[6])
record("full-rank", "`full_rank` = min(m, n)", "low", full_rank=3)
record("rank-zero", "`rank` is 1 to `full_rank`", "low", rank=0)
record("rank-above", "`rank` is 1 to `full_rank`", "low", rank=3)
record("tau-rank-zero", "`tau_rank` is 1 to `full_rank`", "low", tau_rank=0)
record("tau-rank-above", "`tau_rank` is 1 to `full_rank`", "low", tau_rank=3)
record("noise-rank-above", "`noise_rank` is 0 to `full_rank`", "low", noise_rank=3)
record("energy", "`energy` is at most 1", "low", energy=1.0000000000000002)
record("nuclear-norm", "`nuclear_norm` is greater than 0", "low", nuclear_norm=0.0)
record("exponent-low", "`exponent` is in [-126, 126]", "dense", exponent=-127)
record("exponent-high", "`exponent` + bit length of `maximum` <= 126", "dense", exponent=119)
record("maximum-zero", "`maximum` is in [1, 2^31 - 1]", "dense", maximum=0)
record("maximum-over-limit", "`maximum` is in [1, 2^31 - 1]", "dense", maximum=2**31)


def _dense_of_nothing(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none")
    found.update(kind="dense", exponent=0, maximum=1, base_norm=0.0, norm=0.0, error=0.0)


header(
    "dense-of-nothing", "`dense`: at least one element", _dense_of_nothing, of="empty-and-scalar"
)

# Base tensors and views

record("no-base-tensor", "`base` is an array of 1 to 64 objects", "dense", base=[])


def _many_bases(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none.concatenate")
    found["base"] = found["base"][:1] * 65


header(
    "base-tensors-65", "`base` is an array of 1 to 64 objects", _many_bases, of="empty-and-scalar"
)
RULES_TOO = "The rules for a record's name, dtype and shape hold for base tensors too"
based("base-name-metadata", RULES_TOO, "low", name="__metadata__")
based("base-name-empty", RULES_TOO, "low", name="")
based("base-shape-product", RULES_TOO, "none", of="empty-and-scalar", shape=[0, 2**48, 2])
based("base-half-a-byte", RULES_TOO, "F4", of="same-less-than-a-byte", shape=[7])
based(
    "base-dtype", "A base suits a container if it holds tensors with these dtypes and SHA-256",
    "dense", dtype="BF16", error="base",
)  # fmt: skip
based(
    "base-sha256", "A base suits a container if it holds tensors with these dtypes and SHA-256",
    "dense", sha256="00" * 32, error="base",
)  # fmt: skip


based(
    "base-size",
    "If the size of `shape` is not that of the bytes found, the file is refused",
    "I16.slice",
    of="same-odd-dtypes",
    shape=[4, 2],
)
VIEW = "`view`: "
record("view-unknown", VIEW + "one of four kinds", "dense", view={"kind": "flip"})
record("view-field", EXACTLY + "in a view", "dense", view={"kind": "reshape", "first": 0})
record("view-elements", "The number of elements of the view MUST be equal", "dense", shape=[5])
record("transpose-of-1", VIEW + "transpose of 2 dimensions", "dense", view={"kind": "transpose"})
record(
    "concatenate-of-one", VIEW + "concatenate of two or more", "dense", view={"kind": "concatenate"}
)


def _two_bases(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none")
    found["base"] = found["base"] * 2


header("reshape-of-two", VIEW + "reshape of one", _two_bases, of="empty-and-scalar")
record(
    "slice-outside",
    VIEW + "`first` + `rows` <= its first dimension",
    "dense.slice",
    of="views",
    view={"kind": "slice", "first": 3, "rows": 2},
)
record(
    "slice-of-no-row",
    VIEW + "`rows` >= 1",
    "none",
    of="empty-and-scalar",
    view={"kind": "slice", "first": 0, "rows": 0},
)
record(
    "slice-of-scalar",
    VIEW + "slice of at least 1 dimension",
    "one.same",
    of="empty-and-scalar",
    view={"kind": "slice", "first": 0, "rows": 1},
)


def _unequal(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "dense.concatenate")
    found["base"][1]["shape"] = [3, 1]


header(
    "concatenate-unequal",
    VIEW + "concatenate of tensors equal but for the first",
    _unequal,
    of="views",
)


def _two_dtypes(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "none.concatenate")
    found["base"][1] = found["base"][0] | {"name": "none.F32", "dtype": "F32"}


header(
    "concatenate-dtypes",
    VIEW + "concatenate of tensors of one dtype",
    _two_dtypes,
    of="empty-and-scalar",
)
WHOLE = "Views other than `reshape` take dtypes of whole bytes only"
record("transpose-F4", WHOLE, "F4", of="same-less-than-a-byte", view={"kind": "transpose"})
record(
    "slice-F4",
    WHOLE,
    "F4",
    of="same-less-than-a-byte",
    view={"kind": "slice", "first": 0, "rows": 2},
)

# Frames

FRAMES = "Frames: "
header(
    "content-unknown",
    FRAMES + "`content` is one of five",
    lambda h: h["frames"][0].update(content="factors"),
)
header("raw-zero", FRAMES + "`raw` is 1 to 2^26", lambda h: h["frames"][0].update(raw=0))
header(
    "raw-over-limit", FRAMES + "`raw` is 1 to 2^26", lambda h: h["frames"][-1].update(raw=2**26 + 1)
)
header(
    "stored-zero",
    FRAMES + "`stored` is 1 to 2^26 + 2^20",
    lambda h: h["frames"][0].update(stored=0),
)
header(
    "frame-over-limit",
    FRAMES + "`stored` is 1 to 2^26 + 2^20",
    lambda h: h["frames"][0].update(stored=2**26 + 2**20 + 1),
)
header(
    "frame-xxh3",
    "A reader MUST check `xxh3` of every frame that it uses",
    lambda h: h["frames"][0].update(xxh3="0" * 16),
)
header(
    "raw-not-its-frame",
    FRAMES + "`raw` is the size after decompression",
    lambda h: h["frames"][-1].update(raw=h["frames"][-1]["raw"] + 1),
)


def _reordered(value: Json, contents: list[bytes]) -> None:
    value["frames"].reverse()
    contents.reverse()


frames("frame-order", FRAMES + "they stand in the order of contents given", _reordered)
header(
    "part-no-pair",
    FRAMES + "a part is `[tensor, count]`",
    lambda h: h["frames"][0].update(parts=[[1]]),
)
header(
    "part-of-nothing",
    FRAMES + "a part is of a record in `tensors`",
    lambda h: h["frames"][0].update(parts=[[99, 2]]),
)
header(
    "part-negative",
    FRAMES + "the place of a record is from 0",
    lambda h: h["frames"][0].update(parts=[[-3, 2]]),
)
header(
    "part-count-zero",
    FRAMES + "a count of at least 1",
    lambda h: h["frames"][0]["parts"].insert(0, [0, 0]),
)
header(
    "no-parts",
    FRAMES + "the others have at least one part",
    lambda h: h["frames"][0].update(parts=[]),
)
ALL_ONCE = "Taking the parts of one tensor in file order, they MUST be all of it, once: "


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


for kind in ("tables", "elements", "bytes", "components"):
    frames(f"no-{kind}", ALL_ONCE + f"no {kind}", dropped(kind))
    frames(f"{kind}-twice", ALL_ONCE + f"{kind} twice", doubled(kind))


def _foreign(value: Json, contents: list[bytes]) -> None:
    number = place(value, "elements")
    value["frames"].insert(number, copy.deepcopy(value["frames"][number]))
    value["frames"][number]["parts"][0][0] = 2  # a raw record
    contents.insert(number, contents[number])


frames("elements-of-raw", ALL_ONCE + "`elements` are of every `dense`", _foreign)


def one_more_byte(kind: str) -> Callable[[Json, list[bytes]], None]:
    return content(kind, lambda data: data + b"\0")


for kind in ("tables", "elements", "bytes", "components"):
    frames(
        f"{kind}-raw", "A frame's `raw` MUST be the sum of its parts' sizes", one_more_byte(kind)
    )


def source_header_of(change: Callable[[bytes], bytes]) -> Callable[[Json, list[bytes]], None]:
    return content("source_header", change)


frames(
    "source-header-weight", "The weight of a `source_header` is at most 2^24",
    source_header_of(
        lambda data: re.sub(rb'"__metadata__":\s*{', rb'\g<0>"x":"%b",' % (b"," * 2**18), data)
    ),
    of="source-lossy",
)  # fmt: skip
frames(
    "source-header-twice",
    "`source_header` occurs at most once",
    doubled("source_header"),
    of="source-lossy",
)
header(
    "source-header-of-pickle",
    "`source_header` only if `source.format` is `safetensors`",
    lambda h: h["source"].update(format="pickle"),
    of="source-lossy",
)
header(
    "source-header-parts",
    "`source_header` has no parts",
    lambda h: h["frames"][place(h, "source_header")].update(parts=[[0, 1]]),
    of="source-lossy",
)
frames(
    "source-header-over-limit", "`raw` of a `source_header` is at most 2^24",
    source_header_of(lambda data: data + b" " * (2**24 + 1 - len(data))), of="source-lossy",
)  # fmt: skip

# Parts: tables of the tensor `low`, two components

TABLE = "Component tables: "


def table(name: str, rule: str, offset: int, new: bytes) -> None:
    frames(f"table-{name}", TABLE + rule, content("tables", patched(offset, new)))


def planes(*values: int) -> bytes:
    return b"".join(bytes(v >> 8 * p & 255 for v in values) for p in range(4))


def singular(*values: float) -> bytes:
    return planes(*(struct.unpack("<I", struct.pack("<f", v))[0] for v in values))


table("s-rises", "singular values never rise", 18, singular(0.5, 2.0))
table("s-zero", "singular values are greater than 0", 18, singular(2.0, 0.0))
table("s-negative", "singular values are greater than 0", 18, singular(-1.0, -2.0))
table("s-infinite", "singular values are finite", 18, singular(float("inf"), 0.5))
table("s-nan", "singular values are finite", 18, singular(float("nan"), 0.5))
table("a-zero", "1 <= max|a|", 2, planes(4, 0))
table("b-zero", "1 <= max|b|", 10, planes(0, 3))
table("a-over-limit", "max|a| <= 2^31 - 1", 2, planes(4, 2**31))
table("exponent-low", "-126 <= e", 0, bytes([0xF7, 0x81]))
table("exponent-lowest", "-126 <= e", 0, bytes([0xF7, 0x80]))
table("exponent-high", "e + bits(max|a|) + bits(max|b|) <= 126", 0, bytes([121, 121]))
table("bound", "M = sum of max|a| max|b| 2^(e - e_min) < 2^53", 0, bytes([60, 10]))
table(
    "a-other",
    "The largest magnitude of each decoded a_c MUST be the one in the table",
    2,
    planes(4, 8),
)
table(
    "b-other",
    "The largest magnitude of each decoded b_c MUST be the one in the table",
    10,
    planes(6, 3),
)
table("width", "A frame's `raw` MUST be the sum of its parts' sizes", 2, planes(128, 7))


def _over_m(value: Json, contents: list[bytes]) -> None:
    # 2^53 exactly, of the one component of the tensor at the limit
    number = place(value, "tables")
    parts = value["frames"][number]["parts"]
    start = sum(13 * count for tensor, count in parts[: [t for t, _ in parts].index(3)])
    data = contents[number]
    contents[number] = data[: start + 1] + planes(2**23) + planes(2**30) + data[start + 9 :]


frames("bound-2-53", TABLE + "M < 2^53", _over_m, of="exponents")
frames(
    "elements-over",
    "The largest magnitude over all parts MUST be `maximum`",
    content("elements", patched(6, b"\2")),
)
frames(
    "elements-under",
    "The largest magnitude over all parts MUST be `maximum`",
    content("elements", patched(2, b"\0")),
)
frames(
    "components-over",
    "The largest magnitude of each decoded a_c MUST be the one in the table",
    content("components", patched(0, b"\x0f")),
)
frames(
    "components-zero",
    "No component is all zero",
    content("components", lambda data: bytes(len(data))),
)

# Reconstruction


def _other_base(tensor: str, name: str) -> Make:
    def make(built: Built) -> bytes:
        digest = exact.hashlib.sha256(built.base[name][2]).hexdigest()

        def change(value: Json) -> None:
            found = next(t for t in value["tensors"] if t["name"] == tensor)
            found["base"][0] = {"name": name, "dtype": "F32", "shape": [3, 2], "sha256": digest}

        return with_header(built, change)

    return make


FINITE = "A NaN or infinity in the result of a `low_rank` or `dense` is an error"
add("infinite-base", FINITE, _other_base("low", "not finite"))
add("nan-base", FINITE, _other_base("dense", "not a number"))


def _cast(value: Json) -> None:
    found = next(t for t in value["tensors"] if t["name"] == "F16.reshape")
    found["dtype"] = "BF16"


header("nan-cast", "A NaN in the result of a `same` that casts is an error", _cast, of="same-bits")
record("overflow-dense", FINITE, "dense.F32", of="near-overflow", exponent=104)
record("overflow-half", FINITE, "dense.F16", of="near-overflow", exponent=0)

# Result files

add(
    "result-size", "The size of the result MUST be compared with `results`",
    lambda b: with_header(b, lambda h: h["results"][0].update(size=8), refit=False),
)  # fmt: skip
add(
    "result-sha256", "The result at `encoding.tau` MUST have the SHA-256 of `results`",
    lambda b: with_header(b, lambda h: h["results"][0].update(sha256="0" * 64), refit=False),
    error="result",
)  # fmt: skip
AGAIN = "It is the source file again: `sha256` and `size` of `results` MUST be those of `source`"
header(
    "not-the-source-sha256", AGAIN, lambda h: h["source"].update(sha256="0" * 64), of="source-again"
)
header(
    "not-the-source-size",
    AGAIN,
    lambda h: h["source"].update(size=h["source"]["size"] + 1),
    of="source-again",
)
SOURCE = "A `source_header` MUST be a valid safetensors header: "


def source(name: str, rule: str, old: bytes, new: bytes) -> None:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    frames(f"source-{name}", SOURCE + rule, source_header_of(change), of="source-lossy")


source("no-brace", "it begins with `{`", b"{", b" {")
source("no-json", "JSON (RFC 8259)", b"}", b",}")
source("no-utf-8", "UTF-8", b'"title"', b'"\xff"')
source("key-twice", "no key twice in any object", b'"zz": ""', b'"title": ""')
source("half-surrogate", "no half of a surrogate pair", b'"zz": ""', b'"zz": "\\udc00"')
source("metadata", "`__metadata__` is an object of strings", b'"zz": ""', b'"zz": 1')
source(
    "metadata-array",
    "`__metadata__` is an object of strings",
    b'"__metadata__": {',
    b'"__metadata__": [], "x": {',
)
source(
    "field",
    "every other entry has exactly `dtype`, `shape` and `data_offsets`",
    b'"dtype": "U8"',
    b'"dtype": "U8", "x": 1',
)
source("real", "integers spelled as in canonical JSON", b"24,", b"24.0,")
source("minus-zero", "integers spelled as in canonical JSON", b"0,", b"-0,")
source("nan", "JSON (RFC 8259)", b"24,", b"NaN,")
source("three-offsets", "`data_offsets` is [begin, end]", b"24,", b"24, 24,")
source("size", "end - begin is the tensor's size", b'"shape": [\r\n\t   3', b'"shape": [\r\n\t   2')
source(
    "dtype",
    "for exactly the names, dtypes and shapes of the records",
    b'"dtype": "U8"',
    b'"dtype": "I8"',
)
source("name", "for exactly the names, dtypes and shapes of the records", b'"raw"', b'"row"')
source(
    "gap",
    "without gap or overlap",
    b'"data_offsets": [\r\n\t   24,\r\n\t   27',
    b'"data_offsets": [\r\n\t   25,\r\n\t   28',
)
source(
    "overlap",
    "without gap or overlap",
    b'"data_offsets": [\r\n\t   24,\r\n\t   27',
    b'"data_offsets": [\r\n\t   23,\r\n\t   26',
)

# Feature: fidelity

header(
    "requires-twice",
    "`requires` holds no name twice",
    lambda h: h.update(requires=["fidelity"] * 2),
    of="fidelity-budget",
)
NAMED = "`requires` MUST hold `fidelity` exactly if `encoding` has the field `fidelity`"
header("fidelity-not-named", NAMED, lambda h: h.update(requires=[]), of="fidelity-budget")
header(
    "fidelity-not-there", NAMED, lambda h: h["encoding"].pop("fidelity"), of="fidelity-max-error"
)
header(
    "fidelity-no-object",
    "`fidelity` is an object",
    lambda h: h["encoding"].update(fidelity=0.05),
    of="fidelity-max-error",
)


def fidelity(name: str, rule: str, /, *, of: str = "max-error", **fields: Any) -> None:
    """Fields of `fidelity`; None takes one away."""

    def change(value: Json) -> None:
        found = value["encoding"]["fidelity"]
        found.update(fields)
        for key in [key for key, field in fields.items() if field is None]:
            del found[key]

    header(f"fidelity-{name}", rule, change, of=f"fidelity-{of}")


ONE = "`fidelity` is an object of `error` and exactly one of the other two fields"
fidelity("both", ONE, budget=20_000)
fidelity("neither", ONE, max_error=None)
fidelity("no-error", ONE, error=None)
fidelity("unknown-field", EXACTLY + "in `fidelity`", norm=5.0)
fidelity("error-negative", "Reals are not negative", error=-0.040625)
fidelity("error-minus-zero", "Reals have no minus sign", of="exact", error=-0.0)
fidelity("error-integer", "An integer never stands where a real is due", of="exact", error=0)
spelled(
    "fidelity-error-infinite", "Reals in the header are finite", b'"error":0.25}', b'"error":1e999}',
    of="fidelity-budget",
)  # fmt: skip
MAX_ERROR = "`max_error` is in (0, 1)"
fidelity("max-error-0", MAX_ERROR, of="exact", max_error=0.0)
fidelity("max-error-1", MAX_ERROR, of="borders", max_error=1.0)
fidelity("max-error-integer", "An integer never stands where a real is due", max_error=1)
fidelity(
    "error-over",
    "`error` <= `max_error` MUST hold",
    error=math.nextafter(0.05, 1.0),
)
BUDGET = "`budget` is an integer from 1 to 2^53 - 1"
fidelity("budget-0", BUDGET, of="budget", budget=0)
fidelity("budget-over-limit", BUDGET, of="budget", budget=2**53)
fidelity("budget-real", "A real never stands where an integer is due", of="budget", budget=20_000.0)
add(
    "fidelity-over-budget",
    "The size of the whole file MUST be at most `budget`",
    lambda built: with_budget(built, 1),
    of="fidelity-budget",
)
header(
    "fidelity-grid-noise",
    "Beside `fidelity`, `grid_noise` MUST be 0.0",
    lambda h: h["encoding"].update(grid_noise=0.015),
    of="fidelity-max-error",
)
record(
    "fidelity-tau-rank",
    "Beside `fidelity`, `tau_rank` <= `rank` MUST hold",
    "few",
    of="fidelity-budget",
    tau_rank=2,
)

# Feature: packed

header(
    "packed-requires-order",
    "`requires` is ascending",
    lambda h: h.update(requires=["packed", "fidelity"]),
    of="packed-fidelity",
)
header(
    "packed-requires-twice",
    "`requires` holds no name twice",
    lambda h: h.update(requires=["packed"] * 2),
    of="packed-small",
)
header(
    "packed-requires-unknown",
    REQUIRES,
    lambda h: h.update(requires=["packed", "sharding"]),
    of="packed-small",
    error="unsupported",
)


def packed(
    name: str, rule: str, kind: str, change: Callable[[bytes], bytes], *, of: str = "packed-small"
) -> None:
    frames(f"packed-{name}", rule, content(kind, change), of=of)


def strings(*ends: int, order: tuple[int, ...]) -> Callable[[bytes], bytes]:
    """Strings that end at `ends`, in another order."""
    return lambda data: b"".join(data[([0, *ends])[i] : ends[i]] for i in order)


# Components of packed-small: string 0 of b_1 (M = 3), a_0 (4, two bytes), b_0 (5), a_1 (7, two bytes).
SIZES = "A frame's `raw` MUST be the sum of its parts' sizes: "
SHARED = "With M <= 7, ceil(L / D) bytes"
PLAIN = bytes((6, 7, 0, 1, 4, 14, 10, 2, 2, 5))  # the same without the feature
packed("components-raw", SIZES + SHARED, "components", lambda data: data + b"\0")
packed("components-short", SIZES + SHARED, "components", lambda d: d[:2] + d[3:5])  # floor(L / D)
packed("components-plain", SIZES + "those of the feature", "components", lambda _: PLAIN)
header(
    "packed-raw-plain",
    SIZES + "those of the feature",
    lambda h: h["frames"][place(h, "components")].update(raw=len(PLAIN)),
    of="packed-small",
)
NOT_NAMED = 'Without `packed` in `requires`, frames are those of "Components" and "Elements"'
header("packed-not-named", NOT_NAMED, lambda h: h.update(requires=[]), of="packed-small")
header("packed-not-there", SIZES + "those of the feature", lambda h: h.update(requires=["packed"]))
ROW = "A row of `components` whose largest magnitude is not M MUST be refused"
OVER = "With M <= 7, a byte of B^D or more MUST be refused"
BEHIND = "With M <= 7, a digit of an index of L or more that is not 0 MUST be refused"
packed("components-under", ROW, "components", patched(1, bytes([6 + 9 * 5])))
packed("components-zero", ROW, "components", lambda data: bytes(len(data)))
packed("digit-behind", BEHIND, "components", patched(2, bytes([9])))
packed("digit-behind-last", BEHIND, "components", patched(5, bytes([14 + 15])))
packed("byte-over", OVER, "components", patched(3, bytes([10 + 11 * 2 + 121])))
packed("byte-over-behind", OVER, "components", patched(2, bytes([81])))
packed("byte-255", OVER, "components", patched(1, bytes([255])))
packed("table-a-other", ROW, "tables", patched(2, planes(5, 7)))  # B is another
packed("table-a-digits", SIZES + SHARED, "tables", patched(2, planes(2, 7)))
packed("table-a-wide", SIZES + "with M >= 8, L bytes", "tables", patched(2, planes(4, 8)))

# Elements of packed-parts: e (M = 1, two bytes), both parts of d and f (2, two each), g (3, four).
DENSE = (
    "A dense tensor whose largest magnitude, over all its parts, is not `maximum` MUST be refused"
)
PARTS = {"of": "packed-parts"}
packed("elements-raw", SIZES + SHARED, "elements", lambda data: data + b"\0", **PARTS)
packed("elements-under", DENSE, "elements", patched(4, bytes([0 + 5 + 25 * 2])), **PARTS)
packed("elements-over", DENSE, "elements", patched(6, b"\2"))
packed("elements-digit-behind", BEHIND, "elements", patched(5, bytes([7 + 25])), **PARTS)
packed("elements-digit-behind-part", BEHIND, "elements", patched(3, bytes([2 + 5])), **PARTS)
packed("elements-byte-over", OVER, "elements", patched(0, bytes([11 + 243])), **PARTS)
packed(
    "elements-joined", SIZES + "a part of k elements is one row", "elements",
    lambda data: data[:2] + bytes((2 + 25, 2 + 25 * 3, 4 + 5 * 2 + 25)) + data[6:], **PARTS,
)  # fmt: skip
PLAIN_ELEMENTS = bytes(
    (2, 0, 1, 2, 0, 3, 4, 2, 1, 2, 0, 1, 0, 0, 2, 0, 4, 0, 0, 1, 6, 0, 5, 4, 2, 0, 0)
)
packed(
    "elements-plain", SIZES + "those of the feature", "elements", lambda _: PLAIN_ELEMENTS, **PARTS
)
record("packed-maximum-other", DENSE, "g", of="packed-parts", maximum=4)  # B is another
record("packed-maximum-digits", SIZES + SHARED, "f", of="packed-parts", maximum=1)

# Components of packed-planes, four bytes a string: (p, M) of (0, 8) (0, 9) (0, 300) (0, 40000)
# (1, 300) (1, 40000) (2, 40000); the rows have the maxima 300, 9, 8, 40000.
ORDER = "The frame is all strings ascending by p, then by class"
ENDS = tuple(range(4, 29, 4))
PLANES = {"of": "packed-planes"}
packed("plane-under", ROW, "components", patched(1, b"\2"), **PLANES)
packed("plane-over", ROW, "components", patched(1, b"\x11"), **PLANES)
for name, order in {
    "rows": (2, 1, 0, 3, 4, 5, 6),  # by p, then of rows
    "falling": (3, 2, 1, 0, 5, 4, 6),  # by p, then falling by M
    "maximum-first": (0, 1, 2, 4, 3, 5, 6),  # by M, then by p
    "row-by-row": (2, 4, 1, 0, 3, 5, 6),
    "plain": (2, 1, 4, 0, 3, 5, 6),  # as "Components" has it
}.items():
    packed(f"order-{name}", ORDER, "components", strings(*ENDS, order=order), **PLANES)
header("packed-not-named-same-size", NOT_NAMED, lambda h: h.update(requires=[]), of="packed-planes")
# Components of packed-classes: (p, M) of (0, 33) (0, 32) (0, 255) (0, 240) (1, 255) (1, 240).
packed(
    "order-magnitude", ORDER + ", not by M", "components",
    strings(4, 8, 12, 16, 20, 24, order=(1, 0, 3, 2, 5, 4)), of="packed-classes",
)  # fmt: skip
# Components of packed-interleaved begin with rows of M = 1; the second and the third have L = 5.
add(
    "packed-order-equal",
    "Strings of equal p and class stand in the order of their rows",
    lambda b: with_frames(b, content("components", strings(1, 2, 3, 83, order=(0, 2, 1, 3)))),
    of="packed-interleaved",
    error="result",
)

LOOSE = "`requires` MUST hold `loose_header` exactly if at least one `source_header` is loose"
header("loose-not-named", LOOSE, lambda h: h.update(requires=[]), of="loose-source-again")
header("loose-not-named-null", LOOSE, lambda h: h.update(requires=[]), of="loose-source-lossy")
header("loose-not-named-space", LOOSE, lambda h: h.update(requires=[]), of="loose-white-space")
header("loose-not-there", LOOSE, lambda h: h.update(requires=["loose_header"]), of="source-lossy")
header("loose-without-header", LOOSE, lambda h: h.update(requires=["loose_header"]))
frames(
    "loose-vertical-tab", "white space of RFC 8259 alone",
    source_header_of(lambda data: data.replace(b" \t", b" \x0b", 1)), of="loose-source-again",
)  # fmt: skip
