"""The invalid golden residuals: each a valid one with one rule of the text broken.

Checksums are right again, and where it can be, a reader that overlooks the rule gets the source.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import zstandard

from .exact import Json
from .header_bytes import encode_residual
from .residual_building import (
    MAGIC,
    BuiltResidual,
    changed,
    contents_of,
    frames_of,
    refilled,
    run_bytes,
    with_bytes,
    with_contents,
    with_zstd,
)
from .sealing import header_bytes_of, payload_of, prologue, zstd

Make = Callable[[BuiltResidual], bytes]

# By name: the valid one that it is made from, the error, the rule, and how it is made.
INVALID: dict[str, tuple[str, str, str, Make]] = {}


def invalid(name: str, rule: str, make: Make, of: str = "plain", error: str = "container") -> None:
    assert name not in INVALID
    INVALID[name] = of, error, rule, make


# Prologue


def _fields(**fields: int) -> Make:
    return lambda one: with_bytes(header_bytes_of(one.file), payload_of(one.file), **fields)


def _sized(stored: int, json_size: int) -> Make:
    def make(one: BuiltResidual) -> bytes:
        start = prologue(b"", json_size, MAGIC, stored=stored)
        return start + one.file[56:]

    return make


invalid("magic-of-a-container", "the magic", lambda one: b"\x89DSVD" + one.file[5:])
invalid("magic-of-text-mode", "the magic", lambda one: one.file[:5] + b"\n\x1a\n" + one.file[8:])
invalid("no-prologue", "that there are 56 bytes", lambda one: one.file[:55])
invalid(
    "version-2", "another one is refused by its number", _fields(version=2), error="unsupported"
)
invalid("zero", "the zero", _fields(zero=1))
invalid("large-stored-header", "S against the limits", _sized(2**26 + 2**20 + 1, 300))
invalid("large-header", "H against the limits", _sized(200, 2**26 + 1))
invalid("no-header", "that the file has 56 + S bytes", lambda one: one.file[:60])
invalid("digest-of-header", "the SHA-256", _fields(digest=1))


# Header


def _header_zstd(compress: Callable[[bytes], bytes], more: int = 0) -> Make:
    def make(one: BuiltResidual) -> bytes:
        header = header_bytes_of(one.file)
        stored = compress(header)
        return prologue(stored, len(header) + more, MAGIC) + stored + payload_of(one.file)

    return make


def _bytes(change: Callable[[bytes], bytes]) -> Make:
    return lambda one: with_bytes(change(header_bytes_of(one.file)), payload_of(one.file))


def _header(change: Callable[[Json], object]) -> Make:
    return lambda one: changed(one, change)


def _set(*path: Any, to: Any) -> Make:
    """One value of the header is another one."""

    def change(header: Any) -> None:
        for step in path[:-1]:
            header = header[step]
        header[path[-1]] = to

    return _header(change)


invalid("header-is-no-frame", "exactly one zstd frame", _header_zstd(lambda data: data))
invalid("header-of-two-frames", "concatenated frames", _header_zstd(lambda d: zstd(d) + zstd(b"")))
invalid("header-of-another-size", "the size expected (H for the header)", _header_zstd(zstd, 1))
invalid("header-cut", "no field goes beyond the header", _bytes(lambda data: data[:-1]))
invalid("header-cut-short", "no field goes beyond the header", _bytes(lambda data: data[:20]))
invalid("header-longer", "the last field ends with the header", _bytes(lambda data: data + b"\0"))
invalid(
    "uint-longer", "a uint is as short as it can be",
    _bytes(lambda data: data[:33] + bytes((data[33] | 0x80, 0)) + data[34:]),
)  # fmt: skip
invalid(
    "container-another", "`container` is the SHA-256 of the file", _set("container", to="0" * 64)
)
invalid("requires", "a name in it is refused", _set("requires", to=["fast"]), error="unsupported")
invalid(
    "requires-first", "before any other field", _bytes(lambda _: b"\1\4fast" + b"\xff" * 50),
    error="unsupported",
)  # fmt: skip

# Results

TREE = "tree"
SOURCE = "special-bits"
invalid("results-none", "list, 1 to 2^14", _set("results", to=[]))
invalid("results-path", "the paths of the container's", _set("results", 0, "path", to="m"))
invalid(
    "results-order", "in the same order", _header(lambda header: header["results"].reverse()), TREE
)
invalid(
    "results-too-many",
    "the paths of the container's",
    _header(lambda header: header["results"].append(header["results"][0])),
)
invalid("results-size", "the sizes MUST be those of `results`", _set("results", 0, "size", to=1))
invalid(
    "results-sha256",
    "the SHA-256 MUST be those of `results`",
    _set("results", 0, "sha256", to="0" * 64),
    error="result",
)
invalid(
    "results-not-of-source",
    "`sha256` is `source.sha256`",
    _set("results", 0, "sha256", to="0" * 64),
    SOURCE,
)
invalid(
    "results-not-of-folder",
    "the SHA-256 of the listing is `source.sha256`",
    _set("results", 1, "sha256", to="0" * 64),
    TREE,
)

# Tensors: in `plain`, [0] is `dense` (F32, [6]) and [1] is `low` (F16, [3, 2])


def _twice(header: Json, contents: list[bytes]) -> None:
    header["tensors"].insert(0, header["tensors"][0])
    contents.insert(0, contents[0])


def _swapped(header: Json, contents: list[bytes]) -> None:
    header["tensors"].reverse()
    contents.reverse()


def _refilled(change: Callable[[Json, list[bytes]], object]) -> Make:
    return lambda one: refilled(one, change)


def _same(header: Json, contents: list[bytes]) -> None:
    """One that lacks nothing."""
    header["tensors"].insert(1, {"dtype": "BF16", "name": "text/copy", "rank": 0, "shape": [2, 3]})
    contents.insert(3, bytes((0, 255, 1, 0, 4)) + bytes(6))  # behind those of `root`


invalid("tensors-order", "ascending by the UTF-8 bytes of `name`", _refilled(_swapped))
invalid("tensors-twice", "each once", _refilled(_twice))
invalid("name-unknown", "that of the container's record", _set("tensors", 1, "name", to="lox"))
invalid("name-of-same", "whose kind is `low_rank` or `dense`", _refilled(_same), TREE)
invalid("name-of-raw", "whose kind is `low_rank` or `dense`", _set("tensors", 1, "name", to="raw"))
invalid("name-long", "4096 bytes of UTF-8", _set("tensors", 1, "name", to="n" * 4097))
invalid("dtype-other", "that of the container's record", _set("tensors", 1, "dtype", to="BF16"))
invalid("dtype-f64", "`F32`, `F16` or `BF16`", _set("tensors", 1, "dtype", to="F64"))
invalid("shape-other", "of the common rows of the record", _set("tensors", 1, "shape", to=[2, 3]))
invalid("shape-flat", "of the common rows of the record", _set("tensors", 1, "shape", to=[6]))
invalid("shape-of-33", "at most 32 dimensions", _set("tensors", 1, "shape", to=[3, 2, *[1] * 31]))
invalid("shape-huge", "times 16, is at most 2^53 - 1", _set("tensors", 1, "shape", to=[2**50, 2]))
invalid(
    "shape-with-new-rows",
    "of the common rows of the record",
    _set("tensors", 0, "shape", to=[5, 2]),
    "new-rows",
)


def _no_elements(header: Json, contents: list[bytes]) -> None:
    header["tensors"].append({"dtype": "F32", "name": "none", "rank": 0, "shape": [0, 2]})


invalid("no-elements", "the number of elements, is at least 1", _refilled(_no_elements))

# Own components


def _rank_of_vector(header: Json, contents: list[bytes]) -> None:
    """Of `dense`, which has one dimension."""
    header["tensors"][0]["rank"] = 1
    table = struct.pack("<bIIf", -126, 1, 1, 1.0)  # it moves nothing
    contents[:1] = [table, b"\2\0\2", contents[0]]


def _ranks(rank: int, count: int) -> Make:
    """Tensors that the container lacks, and frames that nothing is in."""

    def make(one: BuiltResidual) -> bytes:
        tensors = [
            {"dtype": "F16", "name": f"{i:05}", "rank": rank, "shape": [rank, rank]}
            for i in range(count)
        ]
        frame = {"raw": 1, "stored": 1, "sha256": "0" * 64}
        frames = [{**frame, "raw": 13 * rank}, frame, frame] * count
        header = {**one.header, "tensors": tensors, "frames": frames}
        return with_bytes(encode_residual(header), bytes(3 * count))

    return make


def _loose(header: Json) -> None:
    """A frame of one component of 5.3 million columns."""
    header["tensors"] = [{"dtype": "F16", "name": "low", "rank": 1, "shape": [1, 5300000]}]
    frame = {"stored": 1, "sha256": "0" * 64}
    sizes = [13, 4 * 5300001, *[100] * 6]
    header["frames"] = [{**frame, "raw": raw} for raw in sizes]


def _loose_frames(one: BuiltResidual) -> bytes:
    header = one.header
    _loose(header)
    return with_bytes(encode_residual(header), bytes(8))


OWN = "own-components"  # [0] is `dense.BF16` with one component of (3, 2), [3] `low.BF16` with two
TABLE = 3 * 3  # the frame of the table of `low.BF16`: each has it, components and a run
invalid("rank-of-one-dimension", "`rank` is 0 unless", _refilled(_rank_of_vector))
invalid("rank-over", "at most min(m, n)", _set("tensors", 3, "rank", to=3), OWN)
invalid("components-too-many", "at most 2^16 + F / 4", _ranks(256, 270))
invalid("frame-too-loose", "over 2^24 + 2^22 is at most 16 times `stored`", _loose_frames)


def _table(change: Callable[[Any], object]) -> Make:
    """Another table of `low.BF16`, whose rows are bytes: e, max|a|, max|b| and singular values."""

    def of(header: Json, contents: list[bytes]) -> None:
        table = np.frombuffer(contents[TABLE], np.uint8).reshape(13, 2).copy()
        change(table)
        contents[TABLE] = table.tobytes()

    return _refilled(of)


def _u32(table: Any, first: int, component: int, value: int) -> None:
    table[first : first + 4, component] = np.frombuffer(struct.pack("<I", value), np.uint8)


def _f32(table: Any, component: int, value: float) -> None:
    table[9:13, component] = np.frombuffer(struct.pack("<f", value), np.uint8)


def _exponent(table: Any, component: int, value: int) -> None:
    table[0, component] = value % 256


def _sum(table: Any) -> None:
    """M is what is left of it after all the others hold."""
    _exponent(table, 0, 60)
    _exponent(table, 1, -20)


invalid("singular-zero", "greater than 0", _table(lambda t: _f32(t, 1, 0.0)), OWN)
invalid("singular-nan", "finite", _table(lambda t: _f32(t, 1, float("nan"))), OWN)
invalid("singular-rising", "never rise", _table(lambda t: _f32(t, 1, 2.0)), OWN)
invalid("maximum-zero", "1 <= max|a|", _table(lambda t: _u32(t, 1, 0, 0)), OWN)
invalid("maximum-over", "max|b| <= 2^31 - 1", _table(lambda t: _u32(t, 5, 0, 2**31)), OWN)
invalid("exponent-low", "-126 <= e", _table(lambda t: _exponent(t, 0, -127)), OWN)
invalid("exponent-high", "<= 126", _table(lambda t: _exponent(t, 0, 120)), OWN)
invalid("sum-over", "M < 2^53", _table(_sum), OWN)
rule = "a row whose largest magnitude is not M"
invalid("maximum-not-reached", rule, _table(lambda t: _u32(t, 1, 0, 299)), OWN)


def _content(number: int, change: Callable[[bytes], bytes]) -> Make:
    def of(header: Json, contents: list[bytes]) -> None:
        contents[number] = change(contents[number])

    return _refilled(of)


# Of the numbers of `low.BF16` the first byte has the three digits of the second a, the next one the
# two of the first b, whose M is 5.
COMPONENTS = TABLE + 1
_byte = _content(COMPONENTS, lambda c: bytes((c[0], c[1] + 121)) + c[2:])
_digit = _content(COMPONENTS, lambda c: bytes((c[0] + 27,)) + c[1:])
invalid("components-byte", "a byte of B^D or more", _byte, OWN)
invalid("components-digit", "a digit u of an index of L or more", _digit, OWN)
invalid("components-long", "its `raw`", _content(COMPONENTS, lambda c: c + b"\0"), OWN)
invalid("components-short", "its `raw`", _content(COMPONENTS, lambda c: c[:-1]), OWN)
invalid("table-long", "13 `rank` bytes", _content(TABLE, lambda c: c + b"\0"), OWN)
invalid("table-short", "13 `rank` bytes", _content(TABLE, lambda c: c[:-1]), OWN)


def _overflow(one: BuiltResidual) -> bytes:
    """The first component of `low.F16` is over the range; the run is over the infinities."""
    header, contents = one.header, contents_of(one.file)
    number = [t["name"] for t in header["tensors"]].index("low.F16")
    table = np.frombuffer(contents[3 * number], np.uint8).reshape(13, 2).copy()
    _exponent(table, 0, 12)
    _exponent(table, 1, -12)
    contents[3 * number] = table.tobytes()
    data = one.container.data_at(one.container.tau)
    assert data is not None
    result = np.frombuffer(data["low.F16"], "<f2").astype(np.float64).reshape(3, 2)
    a, b = np.array([[300, -4, 1], [1, 1, -1]], float), np.array([[5, 1], [-1, 40000]], float)
    delta = (a.T * np.array([2.0**12, 2.0**-12])) @ b
    with np.errstate(all="ignore"):
        single = (result + delta).astype("<f4")
        assert np.isinf(single.astype("<f2")).any() and np.isfinite(single).all()
    xs = single.view("<u4").reshape(-1).tolist()
    source = np.frombuffer(_source(one, "low.F16"), "<u2").tolist()
    contents[3 * number + 2] = run_bytes(source, xs, "F16", [(63, 0, 4)])
    return with_contents(header, contents)


def _source(one: BuiltResidual, name: str) -> bytes:
    file = one.files["model.safetensors"]
    (size,) = struct.unpack_from("<Q", file)
    begin, end = json.loads(file[8 : 8 + size])[name]["data_offsets"]
    return file[8 + size :][begin:end]


invalid("prediction-infinite", "a NaN or an infinity there is refused", _overflow, OWN)

# Frames


def _frames(change: Callable[[list[Json]], object]) -> Make:
    return _header(lambda header: change(header["frames"]))


def _compressed(number: int, compress: Callable[[bytes], bytes]) -> Make:
    def make(one: BuiltResidual) -> bytes:
        contents, frames = contents_of(one.file), frames_of(one.file)
        frames[number] = compress(contents[number])
        return with_zstd(one.header, contents, frames)

    return make


def _damaged(one: BuiltResidual) -> bytes:
    return one.file[:-3] + bytes((one.file[-3] ^ 1,)) + one.file[-2:]


def _skippable(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, 4) + b"skip" + zstd(data)


def _without_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def _wide(data: bytes) -> bytes:
    """A frame of a Window_Size of 2^28, of one raw block."""
    block = struct.pack("<I", len(data) << 3 | 1)[:3]
    return b"\x28\xb5\x2f\xfd\x80\x90" + struct.pack("<I", len(data)) + block + data


def _one_byte_more(frames: list[Json]) -> None:
    frames[0]["raw"] += 1


def _larger(data: bytes) -> bytes:
    return data + bytes(6 * (1 + 8) + 1 + 4 * 256 + 1 - len(data))


invalid("frames-too-many", "there are no others", _refilled(lambda _, held: held.append(b"\0")))
invalid("frames-too-few", "these frames", _refilled(lambda _, held: held.pop()))
invalid("frame-raw-zero", "uint from 1", _set("frames", 0, "raw", to=0))
invalid("frame-stored-zero", "uint from 1", _set("frames", 0, "stored", to=0))
invalid("frame-raw-other", "the size expected (`raw` for a frame)", _frames(_one_byte_more))
invalid("frame-over-its-bound", "its `raw` is at most", _content(0, _larger))
invalid("frame-digest", "the SHA-256 of every frame", _set("frames", 1, "sha256", to="0" * 64))
invalid("frame-damaged", "the SHA-256 of every frame", _damaged)
invalid("frame-of-two", "concatenated frames", _compressed(0, lambda data: zstd(data) + zstd(b"")))
invalid("frame-skippable", "skippable frames", _compressed(0, _skippable))
invalid("frame-without-size", "it states its content size", _compressed(0, _without_size))
invalid("frame-wide", "its `Window_Size` is at most 2^27", _compressed(0, _wide))
invalid("frame-no-zstd", "exactly one zstd frame", _compressed(0, lambda data: data))
invalid("longer", "its size MUST be 56 + S +", lambda one: one.file + b"\0")
invalid("cut", "its size MUST be 56 + S +", lambda one: one.file[:-1])

# Runs


def _run(name: str, change: Callable[[bytearray], object]) -> Make:
    """Another run of a tensor that has no other frame."""

    def of(header: Json, contents: list[bytes]) -> None:
        number = [tensor["name"] for tensor in header["tensors"]].index(name)
        content = bytearray(contents[number])
        change(content)
        contents[number] = bytes(content)

    return _refilled(of)


def _put(*places: tuple[int, int]) -> Callable[[bytearray], object]:
    def change(content: bytearray) -> None:
        for at, value in places:
            content[at] = value

    return change


def _keep(size: int) -> Callable[[bytearray], object]:
    def change(content: bytearray) -> None:
        del content[size:]

    return change


def _more(at: int, value: int) -> Callable[[bytearray], object]:
    def change(content: bytearray) -> None:
        content[at] += value

    return change


rule = "a record of the kind `cast`: nothing is stored of it"
invalid("name-of-cast", rule, _set("tensors", 0, "name", to="F16"), "cast-alone")


def _nan(content: bytearray) -> None:
    """The last number, which has the run's only rest, goes from 65504 to a NaN behind it."""
    rest = int.from_bytes(content[-2:], "little") + 2 * (0x7E00 - 0x7BFF)
    content[-2:] = rest.to_bytes(2, "little")


rule = "a cast of the source's tensor: a NaN is an error"
invalid("cast-of-nan", rule, _run("w", _nan), "cast-alone")

DIGITS, SHIFTS, GROUPS = "digits", "shifts-f16", "empty-groups"
# In a tensor of `digits` one byte of digits follows the one group; in one of `shifts-f16` 16 of them
# the 16 groups, and group g, of the shift g, has one element; in `empty-groups` most groups are empty.
FIRST, START = 5, 1 + 4 * 16
invalid("groups-cut", "the run is shorter", _run("2.1", _put((0, 255))), DIGITS)
invalid("groups-alone", "the run is shorter", _run("2.1", _keep(5)), DIGITS)
invalid("groups-none", "the run is shorter", _run("2.1", _keep(1)), DIGITS)
invalid("groups-equal", "`last` rises strictly", _run("F16", _put((5, 1))), GROUPS)
invalid("groups-falling", "`last` rises strictly", _run("F16", _put((9, 1))), GROUPS)
invalid("groups-not-all", "is the largest class in the last", _run("2.1", _put((1, 62))), DIGITS)
invalid("groups-too-far", "is the largest class in the last", _run("F16", _put((125, 64))), GROUPS)
invalid(
    "groups-not-all-f32",
    "is the largest class in the last",
    _run("F32.0", _put((1, 254))),
    "farthest",
)
invalid("groups-high-byte", "is the largest class in the last", _run("2.1", _put((2, 1))), DIGITS)
invalid("shift-of-16", "`shift` is less than W", _run("F16", _put((3, 16))), GROUPS)
invalid("shift-of-16-bf16", "`shift` is less than W", _run("BF16", _put((3, 16))), GROUPS)
invalid("shift-of-32", "`shift` is less than W", _run("F32", _put((3, 32))), GROUPS)
invalid("code-5", "`code`", _run("F16", _put((4, 5))), GROUPS)
invalid("digits-byte", "a byte of B^D or more", _run("6.1", _more(FIRST, 216)), DIGITS)
for base in (2, 4, 6, 16):
    rule = "a digit other than 0 behind the end"
    invalid(f"digit-behind-{base}", rule, _run(f"{base}.1", _more(FIRST, base)), DIGITS)
rule = "a digit of 2^(W - shift) or more"
invalid("digit-over-16", rule, _run("3.0", _put((START + 15, 3))), SHIFTS)
invalid("digit-over-256", rule, _run("4.0", _put((START + 15, 3))), SHIFTS)
rule = "a byte of the last plane that has another bit set"
invalid("low-plane", rule, _run("4.0", _put((START + 3, 0), (START + 18, 15))), SHIFTS)
invalid("low-plane-second", rule, _run("4.0", _put((START + 9, 0), (START + 25, 3))), SHIFTS)
rule = "one that is over 2^(W - shift) - B"
invalid("rest-over", rule, _run("0.0", _put((-17, 2))), SHIFTS)
invalid("run-short", "shorter", _run("0.0", lambda content: content.pop()), SHIFTS)
invalid("run-long", "longer", _run("0.0", lambda content: content.append(0)), SHIFTS)


# Of `codes`, tensor 0 has 24 codes of 4 bits in three groups; their `shift` and `code` follow `last`.
CODES = "codes"
rule = "of a `quantised` one, [rows, columns] of its matrix"
invalid("codes-shape", rule, _set("tensors", 0, "shape", to=[6, 4]), CODES)
invalid("codes-shape-of-bytes", rule, _set("tensors", 0, "shape", to=[12, 2]), CODES)
invalid(
    "codes-dtype", "that of the container's record", _set("tensors", 0, "dtype", to="I8"), CODES
)
rule = "`shift` is less than W (of which codes of 4 bits have 4)"
invalid("codes-shift", rule, _run("e2m1.divide", _put((7, 4))), CODES)
rule = "a digit of 2^(W - shift) or more"
invalid("codes-digit", rule, _run("e2m1.divide", _put((12, 4))), CODES)
