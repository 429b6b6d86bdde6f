"""An educational decoder of the `.dsvd` container, format version 1.

Written from `dsvd-container-v1.md` alone, to be read beside it: the sections stand in its order and
have its names. It favours plainness over speed and holds container, base and result in memory.

    python reference_decoder.py CONTAINER BASE.safetensors OUTPUT [--tau X]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import struct
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

Base = Mapping[str, tuple[str, tuple[int, ...], bytes]]  # name -> dtype, shape, bytes
Json = dict[str, Any]  # an object of the header, once it is checked
Parts = dict[int, list[tuple[int, bytes]]]  # tensor -> count and bytes of its parts in file order
Array = npt.NDArray[Any]


class InvalidContainer(ValueError):
    """This container, with this base and this tau, gives no result; the message names the rule."""


def need(holds: object, rule: str) -> None:
    if not holds:
        raise InvalidContainer(rule)


# Prologue


def read_prologue(file: bytes) -> tuple[int, int]:
    """S and J, the stored size of the header and the size of its JSON."""
    need(file[:8] == b"\x89DSVD\r\n\x1a", "not a container: the magic is not there")
    need(len(file) >= 32, "the file ends within the prologue")
    version, zero, stored, size, zero2, checksum = struct.unpack_from("<HHIIIQ", file, 8)
    need(version == 1, f"format version {version} is not known to this reader")
    need(zero == zero2 == 0, "the reserved fields of the prologue must be zero")
    need(stored <= 2**24 + 2**16 and size <= 2**24, "the header is over its size limit")
    need(len(file) >= 32 + stored, "the file ends within the header")
    need(xxh3_64(file[:24] + file[32 : 32 + stored]) == checksum, "the header is damaged: XXH3")
    return stored, size


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


# Canonical JSON


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


def canonical_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


# Header: what a field may hold. A dict stands for an object of exactly these fields (one with a `?`
# may be absent), a list for an array: what an item is, the least and the largest number of items.


class Rule(NamedTuple):
    text: str
    holds: Callable[[Any], bool]


def integer(least: int, most: int = 2**53 - 1) -> Rule:
    rule = f"an integer from {least} to {most}"
    return Rule(rule, lambda v: type(v) is int and least <= v <= most)  # Python's True is an int


def real(least: float = 0.0, most: float = sys.float_info.max) -> Rule:
    rule = f"a real from {least} to {most}"
    return Rule(rule, lambda v: type(v) is float and least <= v <= most and repr(v) != "-0.0")


def text(least: int = 1, most: int = 4096) -> Rule:
    rule = f"a string of {least} to {most} bytes of UTF-8"
    return Rule(rule, lambda v: isinstance(v, str) and least <= len(v.encode()) <= most)


def digits(count: int) -> Rule:
    pattern = re.compile(f"[0-9a-f]{{{count}}}")
    rule = f"{count} lower-case hexadecimal digits"
    return Rule(rule, lambda v: isinstance(v, str) and pattern.fullmatch(v) is not None)


def one_of(names: Collection[str]) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names)


TINY = math.ulp(0.0)  # the least real above 0
BELOW_1 = math.nextafter(1.0, 0.0)
ANYTHING = Rule("anything", lambda _: True)  # for what is checked elsewhere


def check(value: Any, rule: Any, what: str) -> None:
    if isinstance(rule, dict):
        needed = {name for name in rule if name[-1] != "?"}
        optional = {name[:-1] for name in rule if name[-1] == "?"}
        fits = isinstance(value, dict) and needed <= value.keys() <= needed | optional
        need(fits, f"{what} must be an object of {', '.join(rule)} and no other field")
        for name, item in value.items():
            check(item, rule[name if name in needed else f"{name}?"], f"{what}.{name}")
    elif isinstance(rule, list):
        fits = isinstance(value, list) and rule[1] <= len(value) <= rule[2]
        need(fits, f"{what} must be an array of {rule[1]} to {rule[2]} items")
        for i, item in enumerate(value):
            check(item, rule[0], f"{what}[{i}]")
    else:
        need(rule.holds(value), f"{what} must be {rule.text}")


def check_kind(value: Any, rules: Mapping[str, Json], what: str) -> None:
    kind = value.get("kind") if isinstance(value, dict) else None
    need(isinstance(kind, str) and kind in rules, f"{what} is of no known kind")
    check(value, {"kind": ANYTHING, **rules[str(kind)]}, what)


# Header

RESULT = "model.safetensors"
CONTENTS = ("tables", "elements", "bytes", "source_header", "components")
FEATURES = ("fidelity", "packed")
FRAME = {
    "content": one_of(CONTENTS),
    "parts": [[integer(0), 2, 2], 0, 2**20],
    "raw": integer(1, 2**26),
    "stored": integer(1, 2**26 + 2**20),
    "xxh3": digits(16),
}
FIDELITY = {"error": real(), "max_error?": real(TINY, BELOW_1), "budget?": integer(1)}
HEADER = {
    "base": {"digest": digits(64), "name": text()},
    "encoding": {"tau": real(TINY, 1.0), "grid_noise": real(), "fidelity?": FIDELITY},
    "frames": [FRAME, 0, 2**18],
    "left_out": [{"name": text(), "reason": text()}, 0, 2**17],
    "payload_sha256": digits(64),
    "requires": [one_of(FEATURES), 0, 2**53 - 1],
    "results": [{"path": one_of([RESULT]), "sha256": digits(64), "size": integer(0)}, 1, 1],
    "source": {"format": text(1, 64), "sha256": digits(64), "size": integer(0)},
    "tensors": [ANYTHING, 0, 2**17],
}


def read_header(data: bytes) -> Json:
    header = strict_json(data, "the header")
    need(canonical_json(header) == data, "the header is not in the canonical spelling")
    requires = header.get("requires") if isinstance(header, dict) else None
    for feature in requires if isinstance(requires, list) else []:
        need(feature in FEATURES, f"the file requires {feature!r}, which this reader does not know")
    check(header, HEADER, "header")
    ascending = all(a < b for a, b in pairwise(header["requires"]))
    need(ascending, "the features in requires must ascend, none twice")
    for i, record in enumerate(header["tensors"]):
        check_record(record, f"tensors[{i}]")
    names = [record["name"].encode() for record in header["tensors"]]
    need(all(a < b for a, b in pairwise(names)), "the names of tensors must ascend, none twice")
    check_frames(header)
    return dict(header)


def content_digest(header: Json) -> str:
    without = {name: value for name, value in header.items() if name != "results"}
    return hashlib.sha256(canonical_json(without)).hexdigest()


# Records

DTYPES = {
    64: "F64 I64 U64 C64",
    32: "F32 I32 U32",
    16: "F16 BF16 I16 U16",
    8: "BOOL U8 I8 F8_E5M2 F8_E5M2FNUZ F8_E4M3 F8_E4M3FNUZ F8_E8M0",
    6: "F6_E2M3 F6_E3M2",
    4: "F4",
}
BITS = {name: bits for bits, names in DTYPES.items() for name in names.split()}
REASONS = ("new", "shape", "dtype", "base_dtype", "non_finite", "signed_zero", "smaller", "range")
NAME = Rule(
    f"{text().text}, not __metadata__, without U+0000",
    lambda v: text().holds(v) and v != "__metadata__" and "\0" not in str(v),
)
TENSOR = {"name": NAME, "dtype": one_of(BITS), "shape": [integer(0), 0, 32]}
BASES = [{**TENSOR, "sha256": digits(64)}, 1, 64]
SAME = {**TENSOR, "base": BASES, "view": ANYTHING, "new_rows?": integer(1)}
NORMS = {"base_norm": real(), "norm": real(), "error": real()}
RANKS = {"rank": integer(1), "tau_rank": integer(1), "noise_rank": integer(0)}
SUMS = {"full_rank": integer(1), "energy": real(0.0, 1.0), "nuclear_norm": real(TINY)}
RECORDS: dict[str, Json] = {
    "same": SAME,
    "low_rank": {**SAME, **RANKS, **SUMS, **NORMS},
    "dense": {**SAME, "exponent": integer(-126, 126), "maximum": integer(1, 2**31 - 1), **NORMS},
    "raw": {**TENSOR, "reason": one_of(REASONS)},
}


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
    check_kind(record, RECORDS, what)
    check_size(record, what)
    kind, shape, (m, n) = record["kind"], record["shape"], matrix(record)
    if kind == "raw":
        return
    for tensor in record["base"]:
        check_size(tensor, f"a base tensor of {what}")
    dtypes = {record["dtype"], *(tensor["dtype"] for tensor in record["base"])}
    one_dtype = kind == "same" and len(dtypes) == 1
    need(dtypes <= {"F32", "F16", "BF16"} or one_dtype, f"{what}: these dtypes have no {kind}")
    need("new_rows" not in record or (shape and m > 0), f"{what}: all its rows are new")
    need(view_elements(record, what) == m * n, f"{what}: the viewed base has another size")
    if kind == "low_rank":
        need(len(shape) >= 2, f"{what}: low_rank takes two dimensions or more")
        need(record["full_rank"] == min(m, n), f"{what}: full_rank must be min(m, n)")
        need(all(record[rank] <= min(m, n) for rank in RANKS), f"{what}: a rank is above full_rank")
    if kind == "dense":
        need(m * n > 0, f"{what}: dense takes one element or more")
        top = record["exponent"] + record["maximum"].bit_length()
        need(top <= 126, f"{what}: exponent and maximum are too large")


# Base tensors and views

SLICE = {"first": integer(0), "rows": integer(1)}
VIEWS: dict[str, Json] = {"reshape": {}, "transpose": {}, "slice": SLICE, "concatenate": {}}


def view_elements(record: Json, what: str) -> int:
    """The number of elements of the view, once its own rules are checked."""
    check_kind(record["view"], VIEWS, f"{what}.view")
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
    if view["kind"] == "transpose" and data:
        elements = np.frombuffer(data, f"V{BITS[base['dtype']] // 8}")
        return elements.reshape(base["shape"]).T.tobytes()
    return data


# Frames


def units(record: Json, content: str) -> int:
    """How many units of a content a tensor has in all."""
    (m, n), kind = matrix(record), record["kind"]
    if content in ("tables", "components"):
        return int(record["rank"]) if kind == "low_rank" else 0
    if content == "elements":
        return m * n if kind == "dense" else 0
    return size_of(record) - (0 if kind == "raw" else m * n * BITS[record["dtype"]] // 8)


def check_frames(header: Json) -> None:
    frames, tensors = header["frames"], header["tensors"]
    order = [CONTENTS.index(frame["content"]) for frame in frames]
    need(order == sorted(order), "the frames must stand in the order of their contents")
    need(order.count(3) <= 1, "source_header must occur at most once")
    need(sum(len(f["parts"]) for f in frames) <= 2**20, "the frames have too many parts")
    components = sum(t["rank"] for t in tensors if t["kind"] == "low_rank")
    need(components <= 2**22, "the tensors have too many components")
    counts: Counter[tuple[str, int]] = Counter()
    for frame in frames:
        content, parts = frame["content"], frame["parts"]
        need((content == "source_header") == (not parts), "only source_header has no parts")
        if content == "source_header":
            need(header["source"]["format"] == "safetensors", "a source_header of no safetensors")
            need(frame["raw"] <= 2**24, "the source_header is over its size limit")
        for tensor, count in parts:
            need(tensor < len(tensors) and count >= 1, "a part must be something of a tensor")
            counts[content, tensor] += count
    for tensor, record in enumerate(tensors):
        for content in ("tables", "elements", "bytes", "components"):
            whole = counts[content, tensor] == units(record, content)
            need(whole, f"{record['name']!r}: the parts of {content} must be all of it, once")


def part_size(record: Json, content: str, table: Table | None, first: int, count: int) -> int:
    if table is not None:  # of components
        (m, n), c = matrix(record), slice(first, first + count)
        return m * sum(map(width, table.max_a[c])) + n * sum(map(width, table.max_b[c]))
    each = {"tables": 13, "elements": width(record.get("maximum", 1)), "bytes": 1}
    return count * each[content]


def read_parts(
    header: Json, payload: bytes, content: str, tables: Mapping[int, Table] | None = None
) -> Parts:
    """All parts of a content. The size of every frame is checked before its memory is taken."""
    result: Parts = {}
    before: Counter[int] = Counter()
    packed = "packed" in header["requires"] and content in ("elements", "components")
    ends = accumulate(frame["stored"] for frame in header["frames"])
    for frame, end in zip(header["frames"], ends, strict=True):
        if frame["content"] != content:
            continue
        sizes: list[int] = []
        rows: list[list[Row]] = []  # of each part
        for tensor, count in frame["parts"]:
            table = tables[tensor] if tables else None
            record, first = header["tensors"][tensor], before[tensor]
            sizes.append(part_size(record, content, table, first, count))
            rows.append(rows_of(record, table, first, count) if packed else [])
            before[tensor] += count
        raw = sum(sum(string_sizes(row)) for row in chain(*rows)) if packed else sum(sizes)
        whole = content == "source_header" or raw == frame["raw"]
        need(whole, f"a frame of {content} must be the sum of its parts")
        stored = payload[end - frame["stored"] : end]
        need(f"{xxh3_64(stored):016x}" == frame["xxh3"], f"a frame of {content} is damaged: XXH3")
        data = decompress(stored, frame["raw"], f"a frame of {content}")
        if content == "source_header":
            result[0] = [(1, data)]
        if packed:
            data = unpacked(data, rows)
        stops = accumulate(sizes)
        for (tensor, count), size, stop in zip(frame["parts"], sizes, stops, strict=True):
            result.setdefault(tensor, []).append((count, data[stop - size : stop]))
    return result


# Integers


def width(maximum: int) -> int:
    return max(1, -(-(2 * maximum).bit_length() // 8))


def from_planes(planes: list[bytes], count: int) -> Array:
    """One u32 for each element: first the lowest bytes of all, then their second bytes, ..."""
    result = np.zeros(count, np.uint32)
    for p, plane in enumerate(planes):
        result |= np.frombuffer(plane, np.uint8).astype(np.uint32) << np.uint32(8 * p)
    return result


def from_zigzag(u: Array) -> Array:
    half = (u >> np.uint32(1)).astype(np.int64)
    return np.where(u & np.uint32(1), -half - 1, half)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


# Parts


class Table(NamedTuple):
    """The component tables of one tensor, all parts together."""

    e: Array
    max_a: list[int]
    max_b: list[int]
    singular: list[float]


def read_table(parts: list[tuple[int, bytes]], what: str) -> Table:
    e = np.concatenate([np.frombuffer(part, np.int8, k) for k, part in parts]).astype(np.int64)
    columns = []
    for i in (1, 5, 9):
        words = [from_planes(cut(part[i * k : (i + 4) * k], k), k) for k, part in parts]
        columns.append(np.concatenate(words))
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
    return Table(e, max_a, max_b, s.astype(np.float64).tolist())


def read_components(
    record: Json, table: Table, parts: list[tuple[int, bytes]]
) -> tuple[Array, Array]:
    """All a, an array of (rank, m), and all b, one of (rank, n)."""
    sides: tuple[list[Array], list[Array]] = [], []
    first = 0
    for k, part in parts:
        offset = 0
        maxima = table.max_a[first : first + k], table.max_b[first : first + k]
        for side, size, largest in zip(sides, matrix(record), maxima, strict=True):
            planes: list[list[bytes]] = [[] for _ in range(k)]
            for p in range(4):
                for c in range(k):
                    if width(largest[c]) > p:
                        planes[c].append(part[offset : offset + size])
                        offset += size
            for c in range(k):
                x = from_zigzag(from_planes(planes[c], size))
                same = abs(x).max() == largest[c]
                need(same, f"{record['name']!r}: a component has not the maximum of its table")
                side.append(x.astype(np.int32))
        first += k
    return np.stack(sides[0]), np.stack(sides[1])


def read_elements(record: Json, parts: list[tuple[int, bytes]]) -> Array:
    x = np.concatenate([from_zigzag(from_planes(cut(part, k), k)) for k, part in parts])
    same = abs(x).max() == record["maximum"]
    need(same, f"{record['name']!r}: the elements have not the stated maximum")
    return x


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
    """The exact sum of components, in whatever order the product adds them.

    Every partial sum is an integer times 2^e_min and at most M 2^e_min in magnitude. As M < 2^53,
    binary64 has each of them without rounding. Adding +0.0 turns a -0.0 of the product into +0.0.
    """
    product = np.ldexp(a.astype(np.float64), e[:, None]).T @ b.astype(np.float64)
    return np.asarray(product + 0.0).reshape(-1)


def add(record: Json, viewed: bytes, delta: Array | None) -> bytes:
    """The common rows; `same` has no delta."""
    source, dtype = record["base"][0]["dtype"], record["dtype"]
    if delta is None and source == dtype:
        return viewed
    with np.errstate(all="ignore"):  # an overflow shows in the result
        x = widen(viewed, source) if delta is None else widen(viewed, source) + delta
        result = round_to(x, dtype)
        good = ~np.isnan(x) if delta is None else np.isfinite(x) & np.isfinite(widen(result, dtype))
    need(good.all(), f"{record['name']!r}: the result has a NaN or an infinity")
    return result


# Lower tau


def rank_at(record: Json, singular: list[float], x: float, tau: float) -> int:
    rank = int(record["rank"])
    if x == tau:
        return rank
    least = x * record["nuclear_norm"]
    sums = enumerate(accumulate(singular), start=1)  # in binary64, from the first on
    t = min(next((t for t, s in sums if s >= least), rank + 1), int(record["tau_rank"]))
    need(t <= rank or rank >= record["noise_rank"], f"{record['name']!r} does not serve tau {x!r}")
    return min(t, rank)


# Result files

STALE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")
ENTRY = {"dtype": TENSOR["dtype"], "shape": TENSOR["shape"], "data_offsets": [integer(0), 2, 2]}


def safetensors_header(data: bytes, what: str) -> tuple[dict[str, str], dict[str, Json]]:
    """Metadata and entries, each in the order of the text; the entries fill the data."""
    need(data[:1] == b"{", f"{what} must begin with a brace")
    entries = strict_json(data, what)
    metadata = entries.pop("__metadata__", {})
    strings = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    need(strings, f"{what}: __metadata__ must be an object of strings")
    for name, entry in entries.items():
        check(entry, ENTRY, f"{what}: {name!r}")
        check_size(entry, f"{what}: {name!r}")
        begin, end = entry["data_offsets"]
        need(end - begin == size_of(entry), f"{what}: {name!r} has not the size of its shape")
    spans = sorted(entry["data_offsets"] for entry in entries.values())
    gapless = all(a[1] == b[0] for a, b in pairwise([[0, 0], *spans]))
    need(gapless, f"{what}: the tensors must fill the data without gaps")
    return metadata, entries


def result_head(header: Json, tau: float, source: bytes | None) -> tuple[bytes, dict[str, Json]]:
    """All that comes before the data, and the entries of the tensors."""
    own = {"dsvd.base": header["base"]["digest"], "dsvd.container": content_digest(header)}
    own["dsvd.tau"] = repr(tau)
    if source is None:
        metadata, entries, end = {**own, "format": "pt"}, {}, 0
        tensors = header["tensors"]
        for t in sorted(tensors, key=lambda t: (-BITS[t["dtype"]], t["name"].encode())):
            begin, end = end, end + size_of(t)
            entries[t["name"]] = {**t, "data_offsets": [begin, end]}
    else:
        theirs, entries = safetensors_header(source, "source_header")
        given = {name: (entry["dtype"], entry["shape"]) for name, entry in entries.items()}
        records = {t["name"]: (t["dtype"], t["shape"]) for t in header["tensors"]}
        need(given == records, "source_header must have the tensors of the records")
        if all(record["kind"] in ("same", "raw") for record in header["tensors"]):
            result, file = header["results"][0], header["source"]
            again = all(result[key] == file[key] for key in ("sha256", "size"))
            need(again, "the result must be the source file again")
            return struct.pack("<Q", len(source)) + source, entries
        kept = {k: v for k, v in theirs.items() if k not in STALE and not k.startswith("dsvd.")}
        metadata = {**kept, **own}
    value: Json = {"__metadata__": metadata}
    for name, entry in entries.items():
        value[name] = {key: entry[key] for key in ("dtype", "shape", "data_offsets")}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, entries


def decode(container: bytes, base: Base, tau: float | None = None) -> bytes:
    """The bytes of the result file, `model.safetensors`."""
    stored, size = read_prologue(container)
    header = read_header(decompress(container[32 : 32 + stored], size, "the header"))
    tensors, stored_tau = header["tensors"], header["encoding"]["tau"]
    stated = header["results"][0]
    x = stored_tau if tau is None else float(tau)
    need(0 < x <= stored_tau, f"tau {x!r} is not served: that of the container is {stored_tau!r}")
    payload = container[32 + stored :]
    frames_size = sum(frame["stored"] for frame in header["frames"])
    need(len(payload) == frames_size, "the file must end with its last frame")
    check_fidelity(header, len(container))
    payload_sha256 = hashlib.sha256(payload).hexdigest()
    need(payload_sha256 == header["payload_sha256"], "the payload has another SHA-256")

    # The size of the result is known before any tensor's memory is taken.
    source_parts = read_parts(header, payload, "source_header")
    source = source_parts[0][0][1] if source_parts else None
    head, entries = result_head(header, stored_tau, source)
    total = len(head) + sum(size_of(record) for record in tensors)
    need(total == stated["size"], "the result has another size")
    held = find_base_tensors(header, base)

    parts = read_parts(header, payload, "tables")
    tables = {i: read_table(parts[i], repr(tensors[i]["name"])) for i in parts}
    ranks = {i: rank_at(tensors[i], t.singular, x, stored_tau) for i, t in tables.items()}
    elements, raw = (read_parts(header, payload, content) for content in ("elements", "bytes"))
    components = read_parts(header, payload, "components", tables)
    data = {}
    for i, record in enumerate(tensors):
        rows, delta = b"", None
        if record["kind"] == "low_rank":
            a, b = read_components(record, tables[i], components.pop(i))
            rank = ranks[i]
            delta = low_rank_delta(tables[i].e[:rank], a[:rank], b[:rank])
        if record["kind"] == "dense":
            x_i = read_elements(record, elements.pop(i))
            delta = np.ldexp(x_i.astype(np.float64), record["exponent"])
        if record["kind"] != "raw":
            rows = add(record, viewed_base(record, held), delta)
        data[record["name"]] = rows + b"".join(part for _, part in raw.pop(i, ()))

    head, _ = result_head(header, x, source)
    in_order = sorted(entries, key=lambda name: entries[name]["data_offsets"])
    result = b"".join([head, *(data[name] for name in in_order)])
    same = hashlib.sha256(result).hexdigest() == stated["sha256"]
    need(same or x < stored_tau, "the result has another SHA-256")
    return result


# Digest of a base


def weights_digest(tensors: Base) -> str:
    digest = hashlib.sha256(b"dsvd weights v1\n" + struct.pack("<Q", len(tensors)))
    for name, (dtype, shape, data) in sorted(tensors.items(), key=lambda item: item[0].encode()):
        for text in name.encode(), dtype.encode():
            digest.update(struct.pack("<I", len(text)) + text)
        digest.update(struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


# Feature: fidelity


def check_fidelity(header: Json, size: int) -> None:
    """`size`: that of the whole file."""
    encoding, named = header["encoding"], "fidelity" in header["requires"]
    fidelity = encoding.get("fidelity")
    need(fidelity or not named, "the file requires fidelity, and encoding has no such field")
    need(named or not fidelity, "encoding has fidelity, and the file does not require it")
    if not fidelity:
        return
    need(len(fidelity) == 2, "fidelity must have exactly one of max_error and budget")
    reached = fidelity["error"] <= fidelity.get("max_error", math.inf)
    need(reached, "error must be at most max_error")
    need(size <= fidelity.get("budget", size), "the file is larger than its budget")
    need(encoding["grid_noise"] == 0, "grid_noise must be 0.0 beside fidelity")
    for record in header["tensors"]:
        promised = record["kind"] != "low_rank" or record["tau_rank"] <= record["rank"]
        need(promised, f"{record['name']!r}: tau_rank must be at most rank beside fidelity")


# Feature: packed

DIGITS = {1: 5, 2: 3, 3: 2, 4: 2, 5: 2, 6: 2, 7: 2}  # M: D


class Row(NamedTuple):
    length: int  # L
    maximum: int  # M


def rows_of(record: Json, table: Table | None, first: int, count: int) -> list[Row]:
    """The rows of a part."""
    if table is None:  # of elements
        return [Row(count, record["maximum"])]
    (m, n), c = matrix(record), slice(first, first + count)
    return [*(Row(m, a) for a in table.max_a[c]), *(Row(n, b) for b in table.max_b[c])]


def class_of(maximum: int) -> int:
    """M without all but its four leading bits."""
    low = max(0, maximum.bit_length() - 4)
    return maximum >> low << low


def string_sizes(row: Row) -> list[int]:
    """The sizes of the strings 0, 1, ... of a row."""
    if row.maximum <= 7:
        return [-(-row.length // DIGITS[row.maximum])]
    return [row.length] * width(row.maximum)


def from_digits(string: bytes, row: Row) -> bytes:
    """The only plane of a row with M <= 7."""
    base, count = 2 * row.maximum + 1, DIGITS[row.maximum]
    data = np.frombuffer(string, np.uint8).astype(np.int64)
    need((data < base**count).all(), f"a byte of {count} digits must be less than {base**count}")
    u = np.stack([data // base**i % base for i in range(count)], axis=1).reshape(-1)
    need(not u[row.length :].any(), "a digit behind the end of its row must be 0")
    return u[: row.length].astype(np.uint8).tobytes()


def unpacked(data: bytes, parts: list[list[Row]]) -> bytes:
    """The frame as it would be without the feature: the parts one after another, in planes."""
    rows = list(chain(*parts))
    sizes = [string_sizes(row) for row in rows]
    strings = (
        (p, class_of(row.maximum), i) for i, row in enumerate(rows) for p in range(len(sizes[i]))
    )
    planes: list[list[bytes]] = [[] for _ in rows]
    offset = 0
    for p, _, i in sorted(strings):
        string = data[offset : offset + sizes[i][p]]
        planes[i].append(from_digits(string, rows[i]) if rows[i].maximum <= 7 else string)
        offset += len(string)
    result, left = [], iter(planes)
    for part in parts:
        of_part = [next(left) for _ in part]
        half = (len(part) + 1) // 2  # all a before all b; the one row of elements is a first half
        for side in of_part[:half], of_part[half:]:
            result += [row[p] for p in range(4) for row in side if len(row) > p]
    return b"".join(result)


# Appendix: XXH3-64 with seed 0 and the default secret

P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5, ONES = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, 2**64 - 1
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
KEYS = np.stack([np.frombuffer(SECRET, "<u8", 8, 8 * i) for i in range(17)])


def word(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")


def fold(x: int, y: int) -> int:
    return (x * y ^ x * y >> 64) & ONES


def avalanche(h: int) -> int:
    h = (h & ONES ^ (h & ONES) >> 37) * 0x165667919E3779F9 & ONES
    return h ^ h >> 32


def mix(data: bytes, i: int, s: int) -> int:
    return fold(word(data, i) ^ word(SECRET, s), word(data, i + 8) ^ word(SECRET, s + 8))


def xxh3_64(data: bytes) -> int:
    n, s = len(data), [word(SECRET, 8 * i) for i in range(7)]
    need(n > 8, "no zstd frame is so short")  # else two more cases would stand here
    if n <= 16:
        low, high = word(data, 0) ^ s[3] ^ s[4], word(data, n - 8) ^ s[5] ^ s[6]
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return avalanche(n + swapped + high + fold(low, high))
    if n <= 128:
        h = n * P64_1
        for i in range((n + 31) // 32):
            h += mix(data, 16 * i, 32 * i) + mix(data, n - 16 * i - 16, 32 * i + 16)
        return avalanche(h)
    if n <= 240:
        h = avalanche(n * P64_1 + sum(mix(data, 16 * i, 16 * i) for i in range(8)))
        h += sum(mix(data, 16 * i, 16 * i - 125) for i in range(8, n // 16))
        return avalanche(h + mix(data, n - 16, 119))
    return xxh3_long(data)


def lanes(stripes: bytes, keys: Array) -> Array:
    """What each block of stripes adds to the 8 lanes; inside a block the order is free."""
    words = np.frombuffer(stripes, "<u8").reshape(-1, len(keys), 8)
    keyed = words ^ keys
    product = (keyed & np.uint64(2**32 - 1)) * (keyed >> np.uint64(32))
    return np.asarray((words[..., [1, 0, 3, 2, 5, 4, 7, 6]] + product).sum(axis=1, dtype=np.uint64))


def xxh3_long(data: bytes) -> int:
    """Blocks of 16 stripes of 64 bytes; the last block, which may be shorter, is not scrambled."""
    n, blocks = len(data), (len(data) - 1) // 1024
    acc = np.array([P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1], np.uint64)
    for first in range(0, blocks, 4096):
        for added in lanes(data[1024 * first : 1024 * min(first + 4096, blocks)], KEYS[:16]):
            acc += added
            acc = (acc ^ acc >> np.uint64(47) ^ KEYS[16]) * np.uint64(P32_1)
    stripes = (n - 1 - 1024 * blocks) // 64
    if stripes:
        acc += lanes(data[1024 * blocks :][: 64 * stripes], KEYS[:stripes])[0]
    acc += lanes(data[-64:], np.frombuffer(SECRET, "<u8", 8, 121)[None])[0]
    a = [int(lane) ^ word(SECRET, 11 + 8 * i) for i, lane in enumerate(acc)]
    return avalanche(n * P64_1 + sum(fold(a[i], a[i + 1]) for i in range(0, 8, 2)))


# Command line


def read_safetensors(data: bytes) -> Base:
    start = 8 + word(data, 0)
    need(8 <= start <= len(data), "the base ends within its header")
    _, entries = safetensors_header(data[8:start], "the header of the base")
    tensors = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        tensors[name] = entry["dtype"], tuple(entry["shape"]), data[start + begin : start + end]
    total = start + sum(size_of(entry) for entry in entries.values())
    need(total == len(data), "the base does not end with its last tensor")
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode a .dsvd container of format version 1.")
    parser.add_argument("container", type=Path)
    parser.add_argument("base", type=Path, metavar="BASE.safetensors")
    parser.add_argument("output", type=Path)
    parser.add_argument("--tau", type=float, help="a tau below the stored one")
    options = parser.parse_args()
    partial = options.output.with_name(options.output.name + ".part")
    try:
        base = read_safetensors(options.base.read_bytes())
        result = decode(options.container.read_bytes(), base, options.tau)
        partial.write_bytes(result)
        partial.replace(options.output)
    except (InvalidContainer, OSError) as error:
        partial.unlink(missing_ok=True)
        sys.exit(f"{type(error).__name__}: {error}")
    print(f"{options.output}: {len(result)} bytes, {hashlib.sha256(result).hexdigest()}")


if __name__ == "__main__":
    main()
