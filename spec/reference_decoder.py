"""An educational decoder of the `.dsvd` container, format version 1.

Written from `dsvd-container-v1.md` alone, to be read beside it: the sections stand in its order and
have its names. It favours plainness over speed and holds container, base and result in memory.

    python reference_decoder.py CONTAINER BASE OUTPUT [--tau X]

BASE is a safetensors file or a folder; OUTPUT becomes a folder where the container has a tree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

Base = Mapping[str, tuple[str, tuple[int, ...], bytes]]  # name -> dtype, shape, bytes
Files = Mapping[str, bytes]  # path -> bytes
Json = dict[str, Any]  # an object of the header, once it is checked
Parts = dict[int, list[bytes]]  # place of a tensor or file -> its parts in file order
Head = tuple[bytes, dict[str, Json]]  # of a safetensors file, and its entries
Array = npt.NDArray[Any]
Sides = dict[tuple[int, int], list[Array]]  # tensor and side -> its rows in file order


class InvalidContainer(ValueError):
    """This container, with this base and this tau, gives no result; the message names the rule."""


def need(holds: object, rule: str) -> None:
    if not holds:
        raise InvalidContainer(rule)


# Prologue

MAGIC = b"\x89DSVD\r\n\x1a"


def read_prologue(file: bytes, magic: bytes = MAGIC) -> tuple[bytes, int, bytes]:
    """The header's zstd frame, the size H of the header, and the payload."""
    need(file[:8] == magic, f"not a file of this kind: the magic {magic!r} is not there")
    need(len(file) >= 56, "the file ends within the prologue")
    version, stored, size, zero = struct.unpack_from("<IIII", file, 8)
    need(version == 1, f"format version {version} is not known to this reader")
    need(zero == 0, "the reserved field of the prologue must be zero")
    need(stored <= 2**26 + 2**20 and size <= 2**26, "the header is over its size limit")
    need(size <= max(2**22, 16 * stored), "the header is too large for so few stored bytes")
    need(len(file) >= 56 + stored, "the file ends within the header")
    digest = hashlib.sha256(file[:24] + file[56 : 56 + stored]).digest()
    need(digest == file[24:56], "the header is damaged: SHA-256")
    return file[56 : 56 + stored], size, file[56 + stored :]


# Compression


def decompress(frame: bytes, size: int, what: str) -> bytes:
    need(frame[:4] == b"\x28\xb5\x2f\xfd", f"{what} is not a zstd frame")
    try:
        parameters = zstandard.get_frame_parameters(frame)
        need(parameters.content_size == size, f"{what} does not state the content size {size}")
        need(parameters.dict_id == 0, f"{what} needs a dictionary")
        need(parameters.window_size <= 2**27, f"{what} has a Window_Size above 2^27")
        data = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise InvalidContainer(f"{what} is not exactly one sound zstd frame: {error}") from error
    need(len(data) == size, f"{what} does not hold the {size} bytes that it states")
    return data


# Fields: what stands next in a header. A dict stands for fields in its order, a list for a count and
# as many items: what an item is, the least and the largest number of items.


class Fields:
    """The bytes of a header, and how far they have been read."""

    def __init__(self, data: bytes, file_size: int) -> None:
        self.data, self.at = data, 0
        self.entries = 2**16 + file_size // 8  # those that lists may still have, all together
        self.dimensions = 2**17 + file_size  # and all shapes

    def take(self, size: int, what: str) -> bytes:
        need(self.at + size <= len(self.data), f"the header ends within {what}")
        self.at += size
        return self.data[self.at - size : self.at]

    def uint(self, what: str) -> int:
        digits = [self.take(1, what)[0]]
        while digits[-1] & 0x80:
            need(len(digits) < 8, f"{what} has more than eight bytes")
            digits.append(self.take(1, what)[0])
        need(len(digits) == 1 or digits[-1], f"{what} is longer than it need be")
        value = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(digits))
        need(value < 2**53, f"{what} is over 2^53 - 1")
        return value


Rule = Callable[[Fields, str], Any]


def uint(least: int = 0, most: int = 2**53 - 1) -> Rule:
    def read(fields: Fields, what: str) -> int:
        value = fields.uint(what)
        need(least <= value <= most, f"{what} must be {least} to {most}")
        return value

    return read


def text(least: int = 1, most: int = 4096) -> Rule:
    def read(fields: Fields, what: str) -> str:
        size = uint(least, most)(fields, f"the size of {what}")
        try:
            return fields.take(size, what).decode()
        except UnicodeDecodeError as error:
            raise InvalidContainer(f"{what} is not UTF-8") from error

    return read


def code(*names: str) -> Rule:
    def read(fields: Fields, what: str) -> str:
        number = fields.take(1, what)[0]
        need(number < len(names), f"{what} has the unknown code {number}")
        return names[number]

    return read


def number(form: str, fits: Callable[[float], bool]) -> Rule:
    def read(fields: Fields, what: str) -> float:
        (value,) = struct.unpack(form, fields.take(struct.calcsize(form), what))
        need(fits(value), f"{what} must not be {value}")
        return float(value)

    return read


def digest(fields: Fields, what: str) -> str:
    return fields.take(32, what).hex()


def exponent(fields: Fields, what: str) -> int:
    (value,) = struct.unpack("b", fields.take(1, what))
    need(-126 <= value <= 126, f"{what} must be -126 to 126")
    return int(value)


def shape(fields: Fields, what: str) -> list[int]:
    count = uint(0, 32)(fields, what)
    fields.dimensions -= count
    need(fields.dimensions >= 0, "the header has more dimensions than so small a file may")
    return [fields.uint(what) for _ in range(count)]


real = number("<d", lambda v: math.isfinite(v) and math.copysign(1, v) > 0)
single = number("<f", lambda v: math.isfinite(v) and math.copysign(1, v) > 0)
above_0 = number("<d", lambda v: math.isfinite(v) and v > 0)
share = number("<d", lambda v: 0 < v < 1)
signed = number("<d", lambda v: math.isfinite(v) and repr(v) != "-0.0")


def read(fields: Fields, rule: Any, what: str) -> Any:
    if isinstance(rule, dict):
        return {name: read(fields, item, f"{what}.{name}") for name, item in rule.items()}
    if isinstance(rule, list):
        count = uint(*rule[1:])(fields, f"the number of {what}")
        fields.entries -= count
        need(fields.entries >= 0, "the header lists more than so small a file may")
        return [read(fields, rule[0], f"{what}[{i}]") for i in range(count)]
    return rule(fields, what)


def choice(name: str, rules: Mapping[str, Json]) -> Rule:
    """A code, and the fields that go with it."""

    def read_choice(fields: Fields, what: str) -> Json:
        kind = code(*rules)(fields, f"{what}.{name}")
        return {name: kind, **read(fields, rules[kind], what)}

    return read_choice


# Header

RESULT = "model.safetensors"
CONTENTS = ("tables", "elements", "bytes", "source_header", "files", "components")
AIMS = {"tau": {}, "max_error": {"max_error": share}, "budget": {"budget": uint(1)}}
MERGED = {"container": digest, "name": text(), "weight": signed}
LAYER = {"pattern": text(), "weight": signed, "version": uint()}
PART = {"tensor": uint(), "count": uint(1)}
FRAME = {
    "content": code(*CONTENTS),
    "raw": uint(1, 2**26),
    "stored": uint(1, 2**26 + 2**20),
    "sha256": digest,
    "parts": [PART, 0, 2**20],
}


def read_features(fields: Fields) -> None:
    for feature in read(fields, [text(1, 32), 0, 64], "requires"):
        need(False, f"the file requires {feature!r}, which this reader does not know")


def read_merge(fields: Fields, what: str) -> Json:
    merge: Json = {"versions": read(fields, [MERGED, 0, 2**12], what)}
    if merge["versions"]:
        merge["layers"] = read(fields, [LAYER, 0, 2**12], f"{what}.layers")
        merge["take_from"] = fields.uint(f"{what}.take_from")
        containers = [version["container"] for version in merge["versions"]]
        need(len({*containers}) == len(containers), "no container may stand twice in a merge")
        named = [merge["take_from"], *(layer["version"] for layer in merge["layers"])]
        need(max(named) <= len(containers), "a merge may name only its own versions")
    return merge


def read_header(data: bytes, file_size: int) -> Json:
    fields = Fields(data, file_size)
    read_features(fields)
    header = dict(read(fields, HEADER, "header"))
    names = [record["name"] for record in header["tensors"]]  # Python sorts them as their UTF-8
    need(names == sorted({*names}), "the names of tensors must ascend, none twice")
    header["content_digest"] = hashlib.sha256(data[: fields.at]).hexdigest()
    paths = [file["path"] for file in tree_of(header) if file["kind"] == "tensors"]
    header["results"] = [{"path": path, **read(fields, RESULT_FILE, path)} for path in paths]
    need(fields.at == len(data), "the header must end with its last field")
    check_casts(header)
    check_quantised(header)
    check_tree(header)
    check_frames(header)
    return header


# Records

# In the order of their codes.
DTYPES = {64: "F64 I64 U64 C64", 32: "F32 I32 U32", 16: "F16 BF16 I16 U16"}
DTYPES |= {8: "F8_E4M3 F8_E4M3FNUZ F8_E5M2 F8_E5M2FNUZ F8_E8M0 I8 U8 BOOL"}
DTYPES |= {6: "F6_E2M3 F6_E3M2", 4: "F4"}
BITS = {name: bits for bits, names in DTYPES.items() for name in names.split()}
REASONS = (
    "new",
    "shape",
    "dtype",
    "base_dtype",
    "non_finite",
    "signed_zero",
    "constant",
    "smaller",
    "range",
    "quantised",
    "scheme",
)


def tensor_name(fields: Fields, what: str) -> str:
    name = str(text()(fields, what))
    need(name != "__metadata__" and "\0" not in name, f"{what} must not be {name!r}")
    return name


TENSOR = {"name": tensor_name, "dtype": code(*BITS), "shape": shape}
BASE_TENSOR = {**TENSOR, "sha256": digest}
VIEWS: dict[str, Json] = {
    "reshape": {},
    "transpose": {},
    "slice": {"first": uint(), "rows": uint(1)},
    "concatenate": {},
    "roll": {"first": uint(1)},
}
SAME = {
    **TENSOR,
    "new_rows": uint(),
    "view": choice("kind", VIEWS),
    "base": [BASE_TENSOR, 1, 64],
}
FIGURES = {"base_norm": single, "norm": single, "error": single}
RANKS = {"rank": uint(1), "tau_rank": uint(1), "noise_rank": uint()}
# The dtype of the codes of a grid, and their bits.
GRIDS = {"e4m3": ("F8_E4M3", 8), "e5m2": ("F8_E5M2", 8), "int8": ("I8", 8)}
GRIDS |= {"e2m1": ("U8", 4), "map": ("U8", 4)}
ARRANGED = {"block_rows": uint(1), "block_columns": uint(1), "arrangement": code("rows", "tiles")}


def read_quantisation(fields: Fields, what: str) -> Json:
    grid = code(*GRIDS)(fields, f"{what}.grid")
    q: Json = {"grid": grid}
    if GRIDS[grid][1] == 4:
        q["order"] = code("low", "high")(fields, f"{what}.order")
    q |= read(fields, {"columns": uint(1), "rule": code("divide", "multiply")}, what)
    if grid == "map":
        q["values"] = fields.uint(f"{what}.values")
    q["scale"] = fields.uint(f"{what}.scale")
    if q["scale"]:
        q |= read(fields, {**ARRANGED, "unit": single, "second": uint()}, what)
        need(q["unit"] > 0, f"{what}.unit must be over 0")
        if q["second"]:
            q["second_rule"] = code("multiply", "divide")(fields, f"{what}.second_rule")
        q["nested"] = fields.uint(f"{what}.nested")
        if q["nested"]:
            more = {"nested_scales": uint(), "nested_block": uint(1), "offset": single}
            q |= read(fields, more, what)
    return q


RECORDS: dict[str, Json] = {
    "same": SAME,
    "low_rank": {**SAME, **RANKS, "nuclear_norm": above_0, **FIGURES},
    "dense": {**SAME, "exponent": exponent, "maximum": uint(1, 2**31 - 1), **FIGURES},
    "raw": {**TENSOR, "reason": code(*REASONS)},
    "cast": {**TENSOR, "of": uint()},
    "quantised": {**SAME, "quantisation": read_quantisation},
}


def read_record(fields: Fields, what: str) -> Json:
    record = dict(choice("kind", RECORDS)(fields, what))
    check_record(record, what)
    return record


def matrix(record: Json) -> tuple[int, int]:
    """The common rows, m, and the elements of each, n; a scalar is like one row of one."""
    rows, *others = record["shape"] or [1]
    return rows - record.get("new_rows", 0), math.prod(others)


def size_of(tensor: Json) -> int:
    return math.prod(tensor["shape"]) * BITS[tensor["dtype"]] // 8


def check_size(tensor: Json, what: str) -> None:
    shape, bits = tensor["shape"], BITS[tensor["dtype"]]
    need(math.prod(filter(None, shape)) * 16 < 2**53, f"{what} has too large a shape")
    need(math.prod(shape) * bits % 8 == 0, f"{what} does not fill whole bytes")


def check_record(record: Json, what: str) -> None:
    check_size(record, what)
    kind, shape, (m, n) = record["kind"], record["shape"], matrix(record)
    if kind in ("raw", "cast"):
        return
    for tensor in record["base"]:
        check_size(tensor, f"a base tensor of {what}")
    if kind == "quantised":
        check_codes(record, what)
        return
    dtypes = {record["dtype"], *(tensor["dtype"] for tensor in record["base"])}
    one_dtype = kind == "same" and len(dtypes) == 1
    need(dtypes <= {"F32", "F16", "BF16"} or one_dtype, f"{what}: these dtypes have no {kind}")
    need(not record["new_rows"] or (shape and m > 0), f"{what}: all its rows are new")
    need(view_elements(record, what) == m * n, f"{what}: the viewed base has another size")
    if kind == "low_rank":
        need(len(shape) >= 2, f"{what}: low_rank takes two dimensions or more")
        need(all(record[rank] <= min(m, n) for rank in RANKS), f"{what}: a rank is over min(m, n)")
    if kind == "dense":
        need(m * n > 0, f"{what}: dense takes one element or more")
        top = record["exponent"] + record["maximum"].bit_length()
        need(top <= 126, f"{what}: exponent and maximum are too large")


# Base tensors and views


def view_elements(record: Json, what: str) -> int:
    """The number of elements of the view, once its own rules are checked."""
    kind, shapes = record["view"]["kind"], [tensor["shape"] for tensor in record["base"]]
    dtypes = {tensor["dtype"] for tensor in record["base"]}
    whole = kind == "reshape" or all(BITS[dtype] % 8 == 0 for dtype in dtypes)
    need(whole, f"{what}: {kind} takes no dtype of less than a byte")
    need((len(shapes) > 1) == (kind == "concatenate"), f"{what}: {kind} of {len(shapes)} tensors")
    if kind == "concatenate":
        equal = all(shapes) and all(shape[1:] == shapes[0][1:] for shape in shapes)
        need(equal and len(dtypes) == 1, f"{what}: concatenate takes tensors of equal rows")
    if kind == "transpose":
        need(len(shapes[0]) == 2, f"{what}: transpose takes 2 dimensions")
    if kind == "slice":
        first, rows = record["view"]["first"], record["view"]["rows"]
        need(shapes[0] and first + rows <= shapes[0][0], f"{what}: slice leaves its base tensor")
        return int(rows * math.prod(shapes[0][1:]))
    if kind == "roll":
        need(
            shapes[0] and record["view"]["first"] < shapes[0][0], f"{what}: roll past the last row"
        )
    return sum(math.prod(shape) for shape in shapes)


def find_base_tensors(header: Json, base: Base) -> dict[tuple[str, str], bytes]:
    """By dtype and SHA-256, whatever the tensors are called in this base."""
    held = {(dtype, hashlib.sha256(data).hexdigest()): data for dtype, _, data in base.values()}
    for record in header["tensors"]:
        for tensor in record.get("base", ()):
            data = held.get((tensor["dtype"], tensor["sha256"]))
            need(data is not None, f"the base lacks the tensor once called {tensor['name']!r}")
            fits = len(data or b"") == size_of(tensor)
            need(fits, f"base tensor {tensor['name']!r} has not the size that its shape says")
    return held


def viewed_base(record: Json, held: Mapping[tuple[str, str], bytes]) -> bytes:
    """In C order, in which rows are runs of bytes: what is done to rows can be done to these."""
    view, base = record["view"], record["base"][0]
    data = b"".join(held[tensor["dtype"], tensor["sha256"]] for tensor in record["base"])
    if view["kind"] == "slice":
        row = size_of(base) // base["shape"][0]
        return data[view["first"] * row : (view["first"] + view["rows"]) * row]
    if view["kind"] == "roll" and data:
        start = view["first"] * (size_of(base) // base["shape"][0])
        return data[start:] + data[:start]
    if view["kind"] == "transpose" and data:
        elements = np.frombuffer(data, f"V{BITS[base['dtype']] // 8}")
        return elements.reshape(base["shape"]).T.tobytes()
    return data


# Quantised weights

SCALES = ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "U8")


def codes_of(record: Json) -> int:
    return size_of(record) * 8 // GRIDS[record["quantisation"]["grid"]][1]


def blocks_of(record: Json) -> tuple[int, int]:
    """The number of blocks down and across."""
    q = record["quantisation"]
    m, n = codes_of(record) // q["columns"], q["columns"]
    return -(-m // q["block_rows"]), -(-n // q["block_columns"])


def check_codes(record: Json, what: str) -> None:
    """The checks of it that need no other record."""
    q, count = record["quantisation"], 0
    dtypes = {tensor["dtype"] for tensor in record["base"]}
    need(dtypes <= {"F32", "F16", "BF16"}, f"{what}: its base has no weights")
    need(not record["new_rows"], f"{what}: codes have no new rows")
    need(record["dtype"] == GRIDS[q["grid"]][0], f"{what} has not the dtype of its grid")
    count = codes_of(record)
    need(count > 0 and count % q["columns"] == 0, f"{what}: its codes are no rows")
    need(view_elements(record, what) == count, f"{what}: the viewed base has another size")


def check_quantised(header: Json) -> None:
    """The records that quantisations name."""
    tensors = header["tensors"]
    for record in tensors:
        if record["kind"] != "quantised":
            continue
        q, named = record["quantisation"], []
        if "values" in q:
            named.append((q["values"], ("F32",), 16))
        if q["scale"]:
            down, across = blocks_of(record)
            count = down * across
            if q["arrangement"] == "tiles":
                count = 512 * -(-down // 128) * -(-across // 4)
            named.append((q["scale"] - 1, ("U8",) if q["nested"] else SCALES, count))
            if q["second"]:
                named.append((q["second"] - 1, ("F32",), 1))
            if q["nested"]:
                named.append((q["nested"] - 1, ("F32",), 256))
                named.append((q["nested_scales"], ("F32",), -(-count // q["nested_block"])))
        for place, dtypes, count in named:
            need(place < len(tensors), f"{record['name']!r} names no record")
            other = tensors[place]
            fits = other["kind"] == "raw" and other["dtype"] in dtypes
            fits = fits and math.prod(other["shape"]) == count
            need(fits, f"{record['name']!r} names {other['name']!r}, which does not fit")


def f8(p: int, q: int) -> Array:
    """The 256 numbers of a float of 8 bits: p bits of mantissa, least exponent q."""
    sizes = []
    for u in range(128):
        e, rest = max(u >> p, 1) - 1 + q, u % 2**p + (2**p if u >> p else 0)
        sizes.append(math.ldexp(rest, e - p))
    if p == 2:
        sizes[124:] = [math.inf, math.nan, math.nan, math.nan]
    else:
        sizes[127] = math.nan
    return np.array(sizes + [-size for size in sizes], np.float32)


def scale_numbers(data: bytes, dtype: str) -> Array:
    held = np.frombuffer(data, np.uint8)
    if dtype in ("F32", "F16", "BF16"):
        return widen(data, dtype).astype(np.float32)
    if dtype in ("F8_E4M3", "F8_E5M2"):
        return (f8(3, -6) if dtype == "F8_E4M3" else f8(2, -14))[held]
    powers = [*(math.ldexp(1, u - 127) for u in range(255)), math.nan]
    return np.array(powers, np.float32)[held]


def scales_of(header: Json, record: Json, raw: Callable[[int], bytes]) -> Array:
    """S of each weight."""
    q, count = record["quantisation"], codes_of(record)
    if not q["scale"]:
        return np.ones(count, np.float32)
    place = q["scale"] - 1
    data = raw(place)
    if q["nested"]:
        u = np.frombuffer(data, np.uint8)
        of = np.frombuffer(raw(q["nested_scales"]), "<f4")[np.arange(len(u)) // q["nested_block"]]
        s = np.frombuffer(raw(q["nested"] - 1), "<f4")[u] * of + np.float32(q["offset"])
    else:
        s = scale_numbers(data, header["tensors"][place]["dtype"])
    s = s * np.float32(q["unit"])
    if q["second"]:
        second = np.frombuffer(raw(q["second"] - 1), "<f4")
        s = s * second if q["second_rule"] == "multiply" else s / second
    s = np.where((s > 0) & (s < math.inf), s, np.float32(math.inf))
    i, j = np.divmod(np.arange(count), q["columns"])
    r, c, across = i // q["block_rows"], j // q["block_columns"], blocks_of(record)[1]
    if q["arrangement"] == "rows":
        return np.asarray(s[r * across + c])
    tile = r // 128 * -(-across // 4) + c // 4
    return np.asarray(s[512 * tile + r % 32 * 16 + r % 128 // 32 * 4 + c % 4])


class Codes(NamedTuple):
    """Codes, the distances from the nearest borders times S, and whether these are up."""

    codes: Array
    g: Array
    up: Array


def quantise(header: Json, record: Json, w: Array, raw: Callable[[int], bytes]) -> Codes:
    """The codes of weights, which are binary32."""
    q = record["quantisation"]
    with np.errstate(all="ignore"):
        s = scales_of(header, record, raw)
        x = w / s if q["rule"] == "divide" else w * (np.float32(1) / s)
        x = np.where(np.isnan(x), np.float32(0), x)
        if q["grid"] == "map":
            v = np.frombuffer(raw(q["values"]), "<f4")
            good = np.isfinite(v).all() and (v[1:] > v[:-1]).all()
            need(good, f"{record['name']!r}: the numbers of its map do not ascend")
            codes, a, up = map_codes(np.clip(x, v[0], v[-1]), v)
        elif q["grid"] == "int8":
            y = np.clip(x, np.float32(-128), np.float32(127))
            f = y - np.rint(y)
            codes, a, up = np.rint(y).astype(np.int64) % 256, np.float32(0.5) - abs(f), f >= 0
        else:
            codes, a, up = float_codes(x, *FLOATS[q["grid"]])
        return Codes(codes, a * s, up)


FLOATS = {"e4m3": (3, -6, 448), "e5m2": (2, -14, 57344), "e2m1": (1, 0, 6)}


def float_codes(x: Array, p: int, q: int, largest: int) -> tuple[Array, Array, Array]:
    y = np.minimum(abs(x), np.float32(largest))
    e = np.maximum(np.frexp(y)[1] - 1, q)
    e = np.where(y == 0, q, e)
    h = np.ldexp(np.float32(1), e - p)
    t = y / h
    k = np.rint(t)
    f = t - k
    half = {3: 128, 2: 128, 1: 8}[p]
    negative = np.signbit(x)
    codes = k.astype(np.int64) + (e - q) * 2**p + half * negative
    return codes, (np.float32(0.5) - abs(f)) * h, (f >= 0) != negative


def map_codes(y: Array, v: Array) -> tuple[Array, Array, Array]:
    inner = (v[:-1] + v[1:]) * np.float32(0.5)
    k = (inner[None] < y[:, None]).sum(axis=1)
    borders = np.array([-math.inf, *inner, math.inf], np.float32)
    below, above = y - borders[k], borders[k + 1] - y
    return k, np.minimum(below, above), above <= below


def packed(record: Json, codes: Array) -> bytes:
    if GRIDS[record["quantisation"]["grid"]][1] == 8:
        return codes.astype(np.uint8).tobytes()
    first, second = codes[::2], codes[1::2]
    if record["quantisation"]["order"] == "high":
        first, second = second, first
    return (first + 16 * second).astype(np.uint8).tobytes()


def weights(record: Json, viewed: bytes) -> Array:
    return np.asarray(widen(viewed, record["base"][0]["dtype"]).astype(np.float32))


# Frames


def check_frames(header: Json) -> None:
    frames, tensors = header["frames"], header["tensors"]
    order = [CONTENTS.index(frame["content"]) for frame in frames]
    need(order == sorted(order), "the frames must stand in the order of their contents")
    count, tree = order.count(CONTENTS.index("source_header")), header["tree"]
    right = count == len(header["results"]) if tree else count <= 1
    need(right, "source_header must occur at most once, or in a tree once for every result")
    need(sum(len(f["parts"]) for f in frames) <= 2**20, "the frames have too many parts")
    components = sum(t["rank"] for t in tensors if t["kind"] == "low_rank")
    need(components <= 2**22, "the tensors have too many components")
    sources = sum(frame["raw"] for frame in frames if frame["content"] == "source_header")
    need(sources <= 2**24, "the source_headers are over their size limit")
    counts: Counter[tuple[str, int]] = Counter()
    for frame in frames:
        loose = frame["raw"] > 5 * 2**22 and frame["raw"] > 16 * frame["stored"]
        need(not loose, "a frame is over the limit of what so few bytes may become")
        content, parts = frame["content"], frame["parts"]
        need((content == "source_header") == (not parts), "only source_header has no parts")
        for part in parts:
            counts[content, part["tensor"]] += part["count"]
    whole: Counter[tuple[str, int]] = Counter()
    for place, t in enumerate(tensors):
        m, n = matrix(t)
        whole["tables", place] = whole["components", place] = t.get("rank", 0)
        whole["elements", place] = m * n if t["kind"] == "dense" else 0
        common = 0 if t["kind"] == "raw" else m * n * BITS[t["dtype"]] // 8
        whole["bytes", place] = size_of(t) - common
    for place, file in enumerate(tree_of(header)):
        whole["files", place] = file["size"] if file["kind"] == "stored" else 0
    need(counts == whole, "parts must be all of each tensor and stored file, once")


def frames_of(header: Json, payload: bytes, content: str) -> Iterator[tuple[Json, bytes]]:
    """Those of a content, and the zstd frame of each."""
    ends = accumulate(frame["stored"] for frame in header["frames"])
    for frame, end in zip(header["frames"], ends, strict=True):
        if frame["content"] == content:
            yield frame, payload[end - frame["stored"] : end]


def open_frame(frame: Json, stored: bytes, raw: int) -> bytes:
    """`raw` is the sum of its parts; it is compared before memory is taken."""
    what = f"a frame of {frame.get('content', 'a residual')}"
    need(raw == frame["raw"], f"{what} must be the sum of its parts")
    need(hashlib.sha256(stored).hexdigest() == frame["sha256"], f"{what} is damaged: SHA-256")
    return decompress(stored, raw, what)


def read_parts(header: Json, payload: bytes, content: str) -> Parts:
    """Of a content whose parts are as large as the header says."""
    result: Parts = {}
    each = 13 if content == "tables" else 1
    for frame, stored in frames_of(header, payload, content):
        sizes = [part["count"] * each for part in frame["parts"]]
        data = open_frame(frame, stored, sum(sizes))
        for part, size, stop in zip(frame["parts"], sizes, accumulate(sizes), strict=True):
            result.setdefault(part["tensor"], []).append(data[stop - size : stop])
    return result


# Integers


def width(maximum: int) -> int:
    return max(1, -(-(2 * maximum).bit_length() // 8))


def from_planes(planes: Sequence[Array]) -> Array:
    """One u32 for each element: first the lowest bytes of all, then their second bytes, ..."""
    shifted = (plane.astype(np.uint32) << np.uint32(8 * p) for p, plane in enumerate(planes))
    return np.asarray(sum(shifted), np.uint32)


def from_zigzag(u: Array) -> Array:
    half = (u >> np.uint32(1)).astype(np.int64)
    return np.where(u & np.uint32(1), -half - 1, half)


# Component tables


class Table(NamedTuple):  # of one tensor, all parts together
    e: Array
    maxima: tuple[list[int], list[int]]  # max|a| and max|b|
    singular: list[float]


def read_table(parts: list[bytes], what: str) -> Table:
    rows = [np.frombuffer(part, np.uint8).reshape(13, -1) for part in parts]
    e = np.concatenate([row[0].view(np.int8) for row in rows]).astype(np.int64)
    columns = [np.concatenate([from_planes([*row[i : i + 4]]) for row in rows]) for i in (1, 5, 9)]
    s = columns[2].view(np.float32)
    need(np.isfinite(s).all() and (s > 0).all(), f"{what}: singular values are finite, above 0")
    need((s[1:] <= s[:-1]).all(), f"{what}: singular values never rise")
    max_a, max_b = columns[0].tolist(), columns[1].tolist()
    e_min, bound = min(e.tolist()), 0
    need(e_min >= -126, f"{what}: an exponent is below -126")
    for exponent, a, b in zip(e.tolist(), max_a, max_b, strict=True):
        need(1 <= a < 2**31 and 1 <= b < 2**31, f"{what}: max|a| or max|b| is not on the grid")
        top = exponent + a.bit_length() + b.bit_length()
        need(top <= 126, f"{what}: a component is too large")
        bound += a * b << (exponent - e_min)  # Python's integers are exact
    need(bound < 2**53, f"{what}: M must be less than 2^53")
    return Table(e, (max_a, max_b), s.astype(np.float64).tolist())


# Rows


class Row(NamedTuple):  # integers of one maximum: a or b of a component, or a part of elements
    tensor: int
    part: int  # its part's place in the frame
    side: int  # 1 for b, else 0
    length: int  # L
    maximum: int  # M


def rows_of(header: Json, frame: Json, maxima: Mapping[tuple[int, int], Any]) -> Iterator[Row]:
    """Those of a frame, in order. `maxima`: what is left for each side of a low-rank tensor."""
    for part, told in enumerate(frame["parts"]):
        tensor, count = told["tensor"], told["count"]
        record = header["tensors"][tensor]
        if frame["content"] == "elements":
            yield Row(tensor, part, 0, count, record["maximum"])
        for side, length in enumerate(matrix(record)):
            for maximum in islice(maxima.get((tensor, side), ()), count):
                yield Row(tensor, part, side, length, maximum)


DIGITS = {1: 5, 2: 3, 3: 2, 4: 2, 5: 2, 6: 2, 7: 2}  # M: D


def string_sizes(row: Row) -> list[int]:
    """The sizes of the strings 0, 1, ... of a row."""
    if row.maximum <= 7:
        return [-(-row.length // DIGITS[row.maximum])]
    return [row.length] * width(row.maximum)


def order_of(row: Row, p: int) -> tuple[int, int]:
    """The place of string p of a row among those of other rows."""
    low = max(0, row.maximum.bit_length() - 4)  # the class has but the four leading bits
    return p, row.maximum >> low << low


def from_string(string: Array, row: Row) -> Array:
    """The plane that a string is, or that its digits are."""
    if row.maximum > 7:
        return string
    base, count, data = 2 * row.maximum + 1, DIGITS[row.maximum], string.astype(np.int64)
    need((data < base**count).all(), f"a byte of {count} digits must be less than {base**count}")
    u = np.stack([data // base**i % base for i in range(count)], axis=1).reshape(-1)
    need(not u[row.length :].any(), "a digit behind the end of its row must be 0")
    return u[: row.length]


def read_rows(data: bytes, rows: list[Row]) -> list[Array]:
    """The integers of each row, out of its strings."""
    planes: list[list[Array]] = [[] for _ in rows]
    sizes, offset = [string_sizes(row) for row in rows], 0
    strings = [(i, p) for i in range(len(rows)) for p in range(len(sizes[i]))]
    for i, p in sorted(strings, key=lambda s: (order_of(rows[s[0]], s[1]), s[0])):
        string = np.frombuffer(data, np.uint8, sizes[i][p], offset)
        planes[i].append(from_string(string, rows[i]))
        offset += sizes[i][p]
    return [from_zigzag(from_planes(of_row)) for of_row in planes]


def read_integers(header: Json, payload: bytes, content: str, tables: Mapping[int, Table]) -> Sides:
    """Each row is of a component or of a part of elements."""
    result: Sides = {}
    maxima = {(i, side): iter(t.maxima[side]) for i, t in tables.items() for side in (0, 1)}
    for frame, stored in frames_of(header, payload, content):
        rows = [*rows_of(header, frame, maxima)]
        data = open_frame(frame, stored, sum(sum(string_sizes(row)) for row in rows))
        for row, x in zip(rows, read_rows(data, rows), strict=True):
            right = content == "elements" or abs(x).max() == row.maximum
            need(right, "a component has not the maximum of its table")
            result.setdefault((row.tensor, row.side), []).append(x.astype(np.int32))
    return result


# Reconstruction


def widen(data: bytes, dtype: str) -> Array:
    """The elements of a delta dtype as binary64, exactly."""
    if dtype == "BF16":  # the upper half of a binary32
        halves = np.frombuffer(data, "<u2").astype(np.uint32)
        return (halves << np.uint32(16)).view(np.float32).astype(np.float64)
    return np.frombuffer(data, "<f4" if dtype == "F32" else "<f2").astype(np.float64)


def round_to(x: Array, dtype: str) -> bytes:
    """RN_T(RN_f32(x)), never from binary64 to 16 bits at once. x holds no NaN that matters."""
    single = x.astype(np.float32)
    if dtype == "BF16":  # to nearest, ties to even; a carry goes on into the exponent, up to inf
        bits = single.view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype("<u2").tobytes()
    return single.astype("<f4" if dtype == "F32" else "<f2").tobytes()


def low_rank_delta(e: Array, a: Array, b: Array) -> Array:
    """The exact sum of components, in whatever order the product adds them: as M < 2^53, binary64
    has every partial sum without rounding. Adding +0.0 turns a -0.0 of the product into +0.0.
    """
    product = np.ldexp(a.astype(np.float64), e[:, None]).T @ b.astype(np.float64)
    return np.asarray(product + 0.0).reshape(-1)


def add(record: Json, viewed: bytes, delta: Array | None) -> tuple[bytes, bytes]:
    """The common rows, and what they are rounded from, as F32; `same` has no delta."""
    source, dtype = record["base"][0]["dtype"], record["dtype"]
    if delta is None and source == dtype:
        return viewed, b""
    with np.errstate(all="ignore"):  # an overflow shows in the result
        x = widen(viewed, source) if delta is None else widen(viewed, source) + delta
        single, result = round_to(x, "F32"), round_to(x, dtype)
        good = ~np.isnan(x) if delta is None else np.isfinite(x) & np.isfinite(widen(result, dtype))
    need(good.all(), f"{record['name']!r}: the result has a NaN or an infinity")
    return result, single


# Lower tau


def rank_at(record: Json, singular: list[float], x: int, tau: int) -> int:
    """`x` and `tau` are in millionths."""
    rank = int(record["rank"])
    if x == tau:
        return rank
    least = x / 10**6 * record["nuclear_norm"]
    sums = enumerate(accumulate(singular), start=1)  # in binary64, from the first on
    t = min(next((t for t, s in sums if s >= least), rank + 1), int(record["tau_rank"]))
    need(t <= rank or rank >= record["noise_rank"], f"{record['name']!r} does not serve tau {x!r}")
    return min(t, rank)


# Result files

STALE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")
ENTRY = {"dtype", "shape", "data_offsets"}


def strict_json(data: bytes, what: str) -> Any:
    """JSON in UTF-8 with one spelling for an integer, each key once, no half of a surrogate pair."""

    def each_key_once(pairs: list[tuple[str, Any]]) -> Json:
        need(len(dict(pairs)) == len(pairs), "a key occurs twice")
        return dict(pairs)

    def one_spelling(digits: str) -> int:  # Python's json would take -0, and NaN and Infinity, too
        need(str(int(digits)) == digits, f"{digits} is no spelling of an integer")
        return int(digits)

    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=each_key_once,
            parse_int=one_spelling,
            parse_constant=one_spelling,
        )
        json.dumps(value, ensure_ascii=False).encode()  # fails for half a surrogate pair
    except (ValueError, RecursionError) as error:
        raise InvalidContainer(f"{what} is not sound JSON: {error}") from error
    return value


def is_shape(value: Any) -> bool:
    natural = isinstance(value, list) and all(type(n) is int and 0 <= n < 2**53 for n in value)
    return natural and len(value) <= 32


def safetensors_header(data: bytes, what: str) -> tuple[dict[str, str], dict[str, Json]]:
    """Metadata and entries, each in the order of the text; the entries fill the data."""
    need(data.lstrip(b" \t\n\r")[:1] == b"{", f"{what} must begin with a brace")
    entries = strict_json(data, what)
    metadata = entries.pop("__metadata__", {})
    metadata = {} if metadata is None else metadata
    strings = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    need(strings, f"{what}: __metadata__ must be an object of strings")
    for name, entry in entries.items():
        need(0 < len(name.encode()) <= 4096 and "\0" not in name, f"{what} has the name {name!r}")
        need(isinstance(entry, dict) and entry.keys() == ENTRY, f"{what}: {name!r} is no tensor")
        sound = entry["dtype"] in BITS and is_shape(entry["shape"])
        sound = sound and is_shape(entry["data_offsets"]) and len(entry["data_offsets"]) == 2
        need(sound, f"{what}: {name!r} has a dtype, shape or offsets that are none")
        check_size(entry, f"{what}: {name!r}")
        begin, end = entry["data_offsets"]
        need(end - begin == size_of(entry), f"{what}: {name!r} has not the size of its shape")
    spans = sorted(entry["data_offsets"] for entry in entries.values())
    gapless = all(a[1] == b[0] for a, b in pairwise([[0, 0], *spans]))
    need(gapless, f"{what}: the tensors must fill the data without gaps")
    return metadata, entries


def own_entries(header: Json) -> dict[str, Json]:
    """Those of a result without a `source_header`."""
    entries, end = {}, 0
    for t in sorted(header["tensors"], key=lambda t: (-BITS[t["dtype"]], t["name"])):
        begin, end = end, end + size_of(t)
        entries[t["name"]] = {**t, "data_offsets": [begin, end]}
    return entries


def source_entries(
    header: Json, prefix: str, source: bytes
) -> tuple[dict[str, str], dict[str, Json], bool]:
    """Metadata and entries of a `source_header`, and whether one has a delta, or is a cast of one."""
    metadata, entries = safetensors_header(source, "source_header")
    records = {t["name"]: t for t in header["tensors"]}
    kinds = set()
    for name, entry in entries.items():
        record = records.get(prefix + name, {})
        fits = all(entry[key] == record.get(key) for key in ("dtype", "shape"))
        need(fits, f"source_header: {name!r} is in no record of this dtype and shape")
        kinds.add(uncast(record, header["tensors"])["kind"])
    return metadata, entries, not kinds <= {"same", "raw"}


def written_head(metadata: Mapping[str, str], entries: Mapping[str, Json]) -> bytes:
    value: Json = {"__metadata__": metadata}
    for name, entry in entries.items():
        value[name] = {key: entry[key] for key in ("dtype", "shape", "data_offsets")}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return kept_head(text + b" " * (-len(text) % 8))


def kept_head(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def decimal(tau: int) -> str:
    """A tau in millionths as a decimal fraction."""
    return "1" if tau == 10**6 else f"0.{tau:06}".rstrip("0")


def result_head(header: Json, tau: int, prefix: str, source: bytes | None) -> Head:
    """All that comes before the data of a result, and the entries of its tensors."""
    own = {"dsvd.base": header["base"]["digest"], "dsvd.container": header["content_digest"]}
    own["dsvd.tau"] = decimal(tau)
    if source is None:
        entries = own_entries(header)
        return written_head({**own, "format": "pt"}, entries), entries
    theirs, entries, delta = source_entries(header, prefix, source)
    if not delta:
        file, given = header["source"], header["results"][0]
        again = header["tree"] or all(file[key] == given[key] for key in RESULT_FILE)
        need(again, "the result must be the source file again")
        return kept_head(source), entries
    kept = {k: v for k, v in theirs.items() if k not in STALE and not k.startswith("dsvd.")}
    return written_head({**kept, **own}, entries), entries


class Opened(NamedTuple):
    """A container whose rules are checked as far as that goes without a base."""

    header: Json
    payload: bytes
    files: list[tuple[str, bytes | None]]  # of each result: its prefix, its `source_header`


def open_container(container: bytes) -> Opened:
    stored, size, payload = read_prologue(container)
    header = read_header(decompress(stored, size, "the header"), len(container))
    frames_size = sum(frame["stored"] for frame in header["frames"])
    need(len(payload) == frames_size, "the file must end with its last frame")
    components = sum(record.get("rank", 0) for record in header["tensors"])
    need(components <= 2**16 + len(container) // 4, "too many components for so small a file")
    sources = [open_frame(*f, f[0]["raw"]) for f in frames_of(header, payload, "source_header")]
    most = 2**14 + sum(8 + len(record["shape"]) for record in header["tensors"])
    need(sum(map(values_in, sources)) <= most, "a source_header holds too many values")
    prefixes = [file["prefix"] for file in tree_of(header) if file["kind"] == "tensors"]
    headers: list[bytes | None] = [*sources] or [None]
    opened = Opened(header, payload, list(zip(prefixes, headers, strict=True)))
    # The sizes of the results are known before any tensor's memory is taken.
    heads = [result_head(header, header["encoding"]["tau"], *file) for file in opened.files]
    check_sizes(heads, header["results"])
    named = zip(prefixes, heads, strict=True)
    names = sorted(prefix + name for prefix, (_, entries) in named for name in entries)
    need(names == [t["name"] for t in header["tensors"]], "the files must have each record once")
    return opened


def values_in(source: bytes) -> int:
    """The brackets, braces and commas of JSON that stand in no string."""
    outside = re.sub(rb'"[^"\\]*(?:\\.[^"\\]*)*"', b"", source, flags=re.DOTALL)
    return sum(map(outside.count, (b"[", b"{", b",")))


def check_sizes(heads: list[Head], results: list[Json]) -> None:
    for (head, entries), stated in zip(heads, results, strict=True):
        total = len(head) + sum(size_of(entry) for entry in entries.values())
        need(total == stated["size"], f"{stated['path']}: the result has another size")


def tensors_at(
    opened: Opened, base: Base, x: int, singles: dict[str, bytes] | None = None
) -> dict[str, bytes]:
    """The bytes of every tensor of the result at x millionths, but for casts.

    `singles` is filled with what common rows are rounded from, as F32, for those who need it.
    """
    header, payload, tensors = opened.header, opened.payload, opened.header["tensors"]
    held = find_base_tensors(header, base)
    parts = read_parts(header, payload, "tables")
    tables = {i: read_table(parts[i], repr(tensors[i]["name"])) for i in parts}
    tau = header["encoding"]["tau"]
    ranks = {i: rank_at(tensors[i], t.singular, x, tau) for i, t in tables.items()}
    raw = read_parts(header, payload, "bytes")
    kept = dict(raw)
    elements = read_integers(header, payload, "elements", tables)
    components = read_integers(header, payload, "components", tables)
    data = {}
    for i, record in enumerate(tensors):
        rows, delta = b"", None
        if record["kind"] == "cast":
            continue
        if record["kind"] == "low_rank":
            a, b = (np.stack(components.pop((i, side))[: ranks[i]]) for side in (0, 1))
            delta = low_rank_delta(tables[i].e[: ranks[i]], a, b)
        if record["kind"] == "dense":
            integers = np.concatenate(elements.pop((i, 0))).astype(np.int64)
            right = abs(integers).max() == record["maximum"]
            need(right, f"{record['name']!r}: the elements have not the stated maximum")
            delta = np.ldexp(integers.astype(np.float64), record["exponent"])
        if record["kind"] == "quantised":
            w = weights(record, viewed_base(record, held))
            codes = quantise(header, record, w, lambda place: b"".join(kept[place])).codes
            data[record["name"]] = packed(record, codes)
            continue
        if record["kind"] != "raw":
            rows, single = add(record, viewed_base(record, held), delta)
            if singles is not None:
                singles[record["name"]] = single
        data[record["name"]] = rows + b"".join(raw.pop(i, ()))
    return data


def whole_file(head: Head, prefix: str, data: Mapping[str, bytes]) -> bytes:
    start, entries = head
    in_order = sorted(entries, key=lambda name: entries[name]["data_offsets"])
    return b"".join([start, *(data[prefix + name] for name in in_order)])


def decode(
    container: bytes, base: Base, tau: float | None = None, base_files: Files | None = None
) -> bytes | dict[str, bytes]:
    """The bytes of `model.safetensors`, or by path those of all files of a tree."""
    opened = open_container(container)
    header, stored_tau = opened.header, opened.header["encoding"]["tau"]
    x = stored_tau if tau is None else round(tau * 10**6)
    served = tau is None or (0 < x <= stored_tau and x / 10**6 == tau)
    need(served, f"tau {tau!r} is not served: that of the container is {decimal(stored_tau)}")
    given = kept_files(header, read_parts(header, opened.payload, "files"), base_files or {})
    data = with_casts(header, tensors_at(opened, base, x))
    for stated, (prefix, source) in zip(header["results"], opened.files, strict=True):
        result = whole_file(result_head(header, x, prefix, source), prefix, data)
        same = hashlib.sha256(result).hexdigest() == stated["sha256"]
        need(same or x < stored_tau, f"{stated['path']}: the result has another SHA-256")
        given[stated["path"]] = result
    return given if header["tree"] else given[RESULT]


# Digest of a base


def weights_digest(tensors: Base) -> str:
    digest = hashlib.sha256(b"dsvd weights v1\n" + struct.pack("<Q", len(tensors)))
    for name, (dtype, shape, data) in sorted(tensors.items(), key=lambda item: item[0].encode()):
        for text in name.encode(), dtype.encode():
            digest.update(struct.pack("<I", len(text)) + text)
        digest.update(struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


# Casts of records


def uncast(record: Json, tensors: list[Json]) -> Json:
    """The record that a cast is made of; any other record is its own."""
    return dict(tensors[record["of"]]) if record["kind"] == "cast" else record


def check_casts(header: Json) -> None:
    tensors = header["tensors"]
    casts = [record for record in tensors if record["kind"] == "cast"]
    for record in casts:
        what = repr(record["name"])
        need(record["of"] < len(tensors), f"{what} is a cast of no record")
        other = uncast(record, tensors)
        need(other["kind"] != "cast", f"{what} is a cast of a cast")
        need(other["shape"] == record["shape"], f"{what} is a cast of another shape")
        dtypes = {record["dtype"], other["dtype"]}
        need(dtypes <= {"F32", "F16", "BF16"}, f"{what}: these dtypes have no cast")


def with_casts(header: Json, data: dict[str, bytes]) -> dict[str, bytes]:
    """All tensors, from those that are no casts."""
    made = {}
    for record in header["tensors"]:
        if record["kind"] == "cast":
            other = uncast(record, header["tensors"])
            with np.errstate(all="ignore"):  # what is not finite shows in the result
                w = widen(data[other["name"]], other["dtype"])
                result = round_to(w, record["dtype"])
            good = np.isfinite(widen(result, record["dtype"])) | np.isinf(w)
            need(good.all(), f"{record['name']!r} is a cast of a NaN, or of what has no room in it")
            made[record["name"]] = result
    return data | made


# Trees

NAME = r"(?!\.dsvd-tmp-)[^/OTHERS]*[^/OTHERS. ]".replace("OTHERS", r'\x00-\x1f\x7f\\:*?"<>|')


def file_path(fields: Fields, what: str) -> str:
    path = str(text()(fields, what))
    need(re.fullmatch(f"{NAME}(/{NAME})*", path), f"{what} must be a safe path, not {path!r}")
    return path


KEPT = {"path": file_path, "sha256": digest, "size": uint()}
TREE = {"tensors": {"path": file_path, "prefix": text(0)}, "stored": KEPT, "base": KEPT}
RESULT_FILE = {"sha256": digest, "size": uint()}
# All that comes before the results, in its order.
HEADER = {
    "base": {"digest": digest, "name": text()},
    "source": {"format": text(1, 32), "sha256": digest, "size": uint()},
    "encoding": {"tau": uint(1, 10**6), "grid_noise": real, "aim": choice("kind", AIMS)},
    "merge": read_merge,
    "left_out": [{"name": text(), "reason": text()}, 0, 2**17],
    "tree": [choice("kind", TREE), 0, 2**14],
    "tensors": [read_record, 0, 2**17],
    "frames": [FRAME, 0, 2**18],
}


def tree_of(header: Json) -> list[Json]:
    """Without a tree, the single result."""
    return header["tree"] or [{"kind": "tensors", "path": RESULT, "prefix": ""}]


def check_tree(header: Json) -> None:
    paths = [file["path"] for file in tree_of(header)]
    need(paths == sorted({*paths}), "the paths of the tree must ascend, none twice")
    folders = {path[: end.start()] for path in paths for end in re.finditer("/", path)}
    need(folders.isdisjoint(paths), "no path of the tree may be another's folder")
    need(header["results"], "a tree must have a file that holds tensors")


def kept_files(header: Json, parts: Parts, base_files: Files) -> dict[str, bytes]:
    """The files of the tree that hold no tensors, by path."""
    held = {hashlib.sha256(data).hexdigest(): data for data in base_files.values()}
    result = {}
    for i, file in enumerate(tree_of(header)):
        path, kind = file["path"], file["kind"]
        if kind != "tensors":
            data = held.get(file["sha256"]) if kind == "base" else b"".join(parts.get(i, ()))
            need(data is not None, f"the base lacks the file that is {path!r} in the tree")
            result[path] = data or b""
            same = hashlib.sha256(result[path]).hexdigest() == file["sha256"]
            need(
                same and len(result[path]) == file["size"], f"{path!r} has another SHA-256 or size"
            )
    return result


# Command line


def read_safetensors(data: bytes) -> Base:
    start = 8 + int.from_bytes(data[:8], "little")
    need(8 <= start <= len(data), "the base ends within its header")
    _, entries = safetensors_header(data[8:start], "the header of the base")
    tensors = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        tensors[name] = entry["dtype"], tuple(entry["shape"]), data[start + begin : start + end]
    total = start + sum(size_of(entry) for entry in entries.values())
    need(total == len(data), "the base does not end with its last tensor")
    return tensors


def read_base(place: Path) -> tuple[Base, Files]:
    """The tensors of a file, or those of a folder and its files; their names count for nothing."""
    if place.is_file():
        return read_safetensors(place.read_bytes()), {}
    found = sorted(path for path in place.rglob("*") if path.is_file())
    files = {path.relative_to(place).as_posix(): path.read_bytes() for path in found}
    own = {path: files.pop(path) for path in list(files) if path.endswith(".safetensors")}
    held = {path: read_safetensors(data) for path, data in own.items()}
    return {f"{path}: {name}": t for path in held for name, t in held[path].items()}, files


def write_result(result: bytes | Files, output: Path) -> None:
    """All of it or nothing, and never in the place of another."""
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        for path, data in ({"": result} if isinstance(result, bytes) else result).items():
            place = Path(folder, "whole", path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:  # two paths may be one file here
                file.write(data)
            print(f"{output / path}: {hashlib.sha256(data).hexdigest()}")
        Path(folder, "whole").replace(output)  # of folders, an empty one only


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode a .dsvd container of format version 1.")
    for name in ("container", "base", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--tau", type=float, help="a tau below the stored one")
    options = parser.parse_args()
    try:
        base, files = read_base(options.base)
        result = decode(options.container.read_bytes(), base, options.tau, files)
        write_result(result, options.output)
    except (InvalidContainer, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
