"""A header as plain values, and as bytes: the tests' own writer, which writes what it is told.

The values are those that `reference_decoder.py` gives. Nothing is checked, so that a header may
break any rule: a code may be a number, a text bytes, an integer of any size.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

KINDS = ("same", "low_rank", "dense", "raw", "cast", "quantised")
DTYPES = (
    *("F64", "I64", "U64", "C64", "F32", "I32", "U32", "F16", "BF16", "I16", "U16"),
    *("F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0", "I8", "U8", "BOOL"),
    *("F6_E2M3", "F6_E3M2", "F4"),
)
VIEWS = ("reshape", "transpose", "slice", "concatenate", "roll")
CONTENTS = ("tables", "elements", "bytes", "source_header", "files", "components")
AIMS = ("tau", "max_error", "budget")
FILES = ("tensors", "stored", "base")
REASONS = (
    *("new", "shape", "dtype", "base_dtype", "non_finite", "signed_zero", "constant", "smaller"),
    *("range", "quantised", "scheme"),
)


def uint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit of all but the last is set."""
    digits = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def text(value: str | bytes) -> bytes:
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return uint(len(data)) + data


def code(value: str | int, names: tuple[str, ...]) -> bytes:
    return bytes([value if isinstance(value, int) else names.index(value)])


def real(value: float) -> bytes:
    return struct.pack("<d", value)


def counted(values: Iterable[bytes]) -> bytes:
    found = list(values)
    return uint(len(found)) + b"".join(found)


def encode(header: Json) -> bytes:
    """The whole header; `requires` may name features."""
    results = (bytes.fromhex(one["sha256"]) + uint(one["size"]) for one in header["results"])
    return without_results(header) + b"".join(results)


def encode_residual(header: Json) -> bytes:
    """The header of a residual; `requires` may name features."""
    return b"".join(
        (
            counted(map(text, header.get("requires", ()))),
            bytes.fromhex(header["container"]),
            counted(_tensor(one) + uint(one["rank"]) for one in header["tensors"]),
            counted(
                uint(one["raw"]) + uint(one["stored"]) + bytes.fromhex(one["sha256"])
                for one in header["frames"]
            ),
            counted(
                text(one["path"]) + bytes.fromhex(one["sha256"]) + uint(one["size"])
                for one in header["results"]
            ),
        )
    )


def content_digest(header: Json) -> str:
    return hashlib.sha256(without_results(header)).hexdigest()


def without_results(header: Json) -> bytes:
    base, source, encoding = header["base"], header["source"], header["encoding"]
    aim = encoding["aim"]
    return b"".join(
        (
            counted(map(text, header.get("requires", ()))),
            bytes.fromhex(base["digest"]) + text(base["name"]),
            text(source["format"]) + bytes.fromhex(source["sha256"]) + uint(source["size"]),
            uint(encoding["tau"]) + real(encoding["grid_noise"]) + code(aim["kind"], AIMS),
            real(aim["max_error"]) if "max_error" in aim else b"",
            uint(aim["budget"]) if "budget" in aim else b"",
            _merge(header["merge"]),
            counted(text(one["name"]) + text(one["reason"]) for one in header["left_out"]),
            counted(map(_file, header["tree"])),
            counted(map(_record, header["tensors"])),
            counted(map(_frame, header["frames"])),
        )
    )


def _merge(merge: Json) -> bytes:
    versions = counted(
        bytes.fromhex(one["container"]) + text(one["name"]) + real(one["weight"])
        for one in merge["versions"]
    )
    if not merge["versions"]:
        return versions
    layers = counted(
        text(one["pattern"]) + real(one["weight"]) + uint(one["version"]) for one in merge["layers"]
    )
    return versions + layers + uint(merge["take_from"])


def _file(file: Json) -> bytes:
    start = code(file["kind"], FILES) + text(file["path"])
    if "prefix" in file:
        return start + text(file["prefix"])
    return start + bytes.fromhex(file["sha256"]) + uint(file["size"])


def _tensor(tensor: Json) -> bytes:
    return (
        text(tensor["name"]) + code(tensor["dtype"], DTYPES) + counted(map(uint, tensor["shape"]))
    )


def _record(record: Json) -> bytes:
    kind = record["kind"]
    data = code(kind, KINDS) + _tensor(record)
    if "base" in record:
        view = record["view"]
        data += uint(record["new_rows"]) + code(view["kind"], VIEWS)
        if view["kind"] == "slice":
            data += uint(view["first"]) + uint(view["rows"])
        if view["kind"] == "roll":
            data += uint(view["first"])
        data += counted(_tensor(one) + bytes.fromhex(one["sha256"]) for one in record["base"])
    if kind == "low_rank":
        data += b"".join(uint(record[rank]) for rank in ("rank", "tau_rank", "noise_rank"))
        data += real(record["nuclear_norm"])
    if kind == "dense":
        data += struct.pack("b", record["exponent"]) + uint(record["maximum"])
    if kind in ("low_rank", "dense"):
        data += struct.pack("<3f", record["base_norm"], record["norm"], record["error"])
    if kind == "raw":
        data += code(record["reason"], REASONS)
    if kind == "cast":
        data += uint(record["of"])
    if kind == "quantised":
        data += _quantisation(record["quantisation"])
    return data


def _quantisation(told: Json) -> bytes:
    data = code(told["grid"], ("e4m3", "e5m2", "int8", "e2m1", "map"))
    if "order" in told:
        data += code(told["order"], ("low", "high"))
    data += uint(told["columns"]) + code(told["rule"], ("divide", "multiply"))
    if "values" in told:
        data += uint(told["values"])
    data += uint(told["scale"])
    if "unit" in told:
        data += uint(told["block_rows"]) + uint(told["block_columns"])
        data += code(told["arrangement"], ("rows", "tiles")) + struct.pack("<f", told["unit"])
        data += uint(told["second"])
        if "second_rule" in told:
            data += code(told["second_rule"], ("multiply", "divide"))
        data += uint(told["nested"])
    if "nested_scales" in told:
        data += uint(told["nested_scales"]) + uint(told["nested_block"])
        data += struct.pack("<f", told["offset"])
    return data


def _frame(frame: Json) -> bytes:
    return b"".join(
        (
            code(frame["content"], CONTENTS),
            uint(frame["raw"]) + uint(frame["stored"]) + bytes.fromhex(frame["sha256"]),
            counted(uint(part["tensor"]) + uint(part["count"]) for part in frame["parts"]),
        )
    )
