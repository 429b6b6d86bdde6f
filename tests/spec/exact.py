"""What a container gives, in exact fractions: the tests' own third reading of the spec.

Slow and plain. It takes values, never a container: what it says does not depend on any reader.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Any

from dsvd_registry.checkpoint.tensor_info import BITS

from .header_bytes import content_digest

Json = dict[str, Any]
# Bits of the significand, exponent of the least subnormal number, exponent of the first overflow.
FORMATS = {
    "F64": (53, -1074, 1024),
    "F32": (24, -149, 128),
    "F16": (11, -24, 16),
    "BF16": (8, -133, 128),
}
STALE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")


@dataclass(frozen=True)
class Component:
    """2^e a b^T, and its singular value."""

    e: int
    a: tuple[int, ...]
    b: tuple[int, ...]
    s: float


class NotFinite(ValueError):
    """The result would hold an infinity."""


def rounded(x: Fraction, dtype: str) -> Fraction:
    """To nearest, ties to even, subnormal numbers kept. Raises `NotFinite`."""
    precision, least, overflow = FORMATS[dtype]
    if not x:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if Fraction(2) ** exponent > abs(x):
        exponent -= 1
    unit = Fraction(2) ** max(exponent - precision + 1, least)
    value = round(x / unit) * unit  # Python rounds a fraction's ties to even
    if abs(value) >= Fraction(2) ** overflow:
        raise NotFinite(f"{x} in {dtype}")
    return value


def decoded(data: bytes, dtype: str) -> list[float]:
    """The elements of a delta dtype."""
    if dtype == "BF16":
        data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
    return [value for (value,) in struct.iter_unpack("<e" if dtype == "F16" else "<f", data)]


def encoded(values: Iterable[float], dtype: str) -> bytes:
    """The bytes of elements that `dtype` has exactly."""
    if dtype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return b"".join(struct.pack("<e" if dtype == "F16" else "<f", value) for value in values)


def added(base: bytes, base_dtype: str, delta: Iterable[Fraction], dtype: str) -> bytes:
    """RN_T(RN_f32(RN_f64(b + d))). Raises `NotFinite`."""
    result = []
    for b, d in zip(decoded(base, base_dtype), delta, strict=True):
        total = Fraction(b) + d
        value = rounded(rounded(rounded(total, "F64"), "F32"), dtype)
        result.append(math.copysign(float(value), 1 if total >= 0 else -1))
    return encoded(result, dtype)


def cast(base: bytes, base_dtype: str, dtype: str) -> bytes:
    """RN_T(RN_f32(b)); what is over the range becomes an infinity. The base holds no NaN."""
    result = []
    for b in decoded(base, base_dtype):
        try:
            value = float(rounded(Fraction(b), dtype)) if math.isfinite(b) else b
        except NotFinite:
            value = math.inf
        result.append(math.copysign(value, b))
    return encoded(result, dtype)


def with_casts(header: Json, data: Mapping[str, bytes]) -> dict[str, bytes]:
    """All tensors of a container, from those that are no casts. Raises `NotFinite`."""
    found = dict(data)
    for record in header["tensors"]:
        if record["kind"] == "cast":
            other = header["tensors"][record["of"]]
            whole = decoded(data[other["name"]], other["dtype"])
            if any(map(math.isnan, whole)):
                raise NotFinite(f"a NaN in {other['name']}")
            made = cast(data[other["name"]], other["dtype"], record["dtype"])
            for before, after in zip(whole, decoded(made, record["dtype"]), strict=True):
                if math.isfinite(before) and not math.isfinite(after):
                    raise NotFinite(f"{before} in {record['dtype']}")
            found[record["name"]] = made
    return found


def low_rank_delta(components: Iterable[Component], m: int, n: int) -> list[Fraction]:
    delta = [Fraction(0)] * (m * n)
    for c in components:
        for i, x in enumerate(c.a):
            for j, y in enumerate(c.b):
                delta[i * n + j] += Fraction(2) ** c.e * x * y
    return delta


def viewed(view: Json, base: list[tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """The viewed base, from the dtype, shape and bytes of its tensors."""
    dtype, shape, data = base[0]
    if view["kind"] == "concatenate":
        return b"".join(data for _, _, data in base)
    if view["kind"] == "reshape":
        return data
    size = BITS[dtype] // 8
    if view["kind"] == "slice":
        row = size * math.prod(shape[1:])
        return data[view["first"] * row :][: view["rows"] * row]
    if view["kind"] == "roll":
        row = size * math.prod(shape[1:])
        order = [*range(view["first"], shape[0]), *range(view["first"])]
        return b"".join(data[place * row :][:row] for place in order)
    rows, columns = shape
    places = [i * columns + j for j in range(columns) for i in range(rows)]
    return b"".join(data[place * size : (place + 1) * size] for place in places)


def rank_at(record: Json, singular: list[float], tau: float, x: float) -> int | None:
    """The rank that x takes; None if it is not served."""
    if x == tau:
        return int(record["rank"])
    wanted = [t for t, s in enumerate(accumulate(singular), 1) if s >= x * record["nuclear_norm"]]
    t = min(wanted[0] if wanted else record["rank"] + 1, record["tau_rank"])
    if t <= record["rank"]:
        return int(t)
    return int(record["rank"]) if record["rank"] >= record["noise_rank"] else None


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def result_file(
    header: Json,
    data: Mapping[str, bytes],
    x: float,
    source_header: bytes | None,
    prefix: str = "",
) -> bytes:
    """The file that holds these tensors at the tau x; of a tree, those of one prefix and header."""
    own = {
        "dsvd.base": header["base"]["digest"],
        "dsvd.container": content_digest(header),
        "dsvd.tau": str(Decimal(round(x * 10**6)) / 10**6),
    }
    if source_header is not None:
        entries = json.loads(source_header)
        kept = entries.pop("__metadata__", None) or {}
        order = sorted(entries, key=lambda name: entries[name]["data_offsets"])
        body = b"".join(data[prefix + name] for name in order)
        own_names = {prefix + name for name in entries}
        own_records = [record for record in header["tensors"] if record["name"] in own_names]
        named = [header["tensors"][one["of"]] for one in own_records if one["kind"] == "cast"]
        kinds = {record["kind"] for record in own_records + named}
        if not {"low_rank", "dense", "quantised"} & kinds:
            return struct.pack("<Q", len(source_header)) + source_header + body
        metadata = {k: v for k, v in kept.items() if k not in STALE and k[:5] != "dsvd."} | own
    else:
        entries, metadata, body = {}, own | {"format": "pt"}, b""
        by_size = sorted(header["tensors"], key=lambda t: (-BITS[t["dtype"]], t["name"].encode()))
        for record in by_size:
            offsets = [len(body), len(body) + len(data[record["name"]])]
            entries[record["name"]] = record | {"data_offsets": offsets}
            body += data[record["name"]]
    keys = ("dtype", "shape", "data_offsets")
    document = {"__metadata__": metadata} | {
        name: {key: entry[key] for key in keys} for name, entry in entries.items()
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
