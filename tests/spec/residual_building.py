"""Residuals out of hand-chosen bits, groups and components; nothing of the package's encoder."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsvd_registry.checkpoint.tensor_info import BITS
from dsvd_registry.container.rows import Rows, blocks, pack_rows
from dsvd_registry.container.table import ComponentTable, pack_table

from . import exact, exact_codes
from .building import Built, Recipe
from .exact import Component, Json
from .header_bytes import encode_residual
from .residual_readers import residual_decoder
from .sealing import header_bytes_of, header_of, payload_of, sealed, unzstd, with_header, zstd

MAGIC = b"\x89DSVR\r\n\x1a"
MANTISSA = {"F32": 23, "F16": 10, "BF16": 7}
BASES = ((2, 8), (4, 4), (6, 3), (16, 2), (256, 1))  # B and D of each code

Group = tuple[int, int, int]  # last, shift, code
Bits = Sequence[int]


def last_exponent(dtype: str) -> int:
    return (1 << BITS[dtype] - 1 - MANTISSA[dtype]) - 1


def last_of(exponent: int, dtype: str) -> int:
    """The last class of an exponent."""
    return exponent if dtype == "F32" else 2 * exponent + 1


def last_class(dtype: str) -> int:
    return last_of(last_exponent(dtype), dtype)


@dataclass(frozen=True)
class Lacking:
    """What a residual has of a tensor: the bits of its source, and how they are to be coded.

    `groups`: of its run; without them a single one of bytes as digits. `own`: components on top.
    `predicted`: of quantised weights, the code, the class and the side of the nearest border of each.
    """

    source: Bits
    groups: tuple[Group, ...] = ()
    own: tuple[Component, ...] = ()
    predicted: tuple[tuple[int, int, bool], ...] = ()


@dataclass(frozen=True)
class BuiltResidual:
    """A valid residual with all that a test compares it with."""

    file: bytes
    container: Built
    predictions: Mapping[str, list[int]]  # of each tensor in it, the bits of x
    files: dict[str, bytes]  # the source, by path

    @property
    def header(self) -> Json:
        return residual_header_of(self.file)


def build(recipe: Recipe, lacking: Mapping[str, Lacking]) -> BuiltResidual:
    """The container of `recipe` with this source, and its residual."""
    built = recipe.build()
    data = built.data_at(built.tau)
    assert data is not None
    records = {record["name"]: record for record in built.header["tensors"]}
    tensors: list[Json] = []
    contents: list[bytes] = []
    predictions = {}
    for name in sorted(lacking, key=str.encode):
        record, own = records[name], lacking[name].own
        shape, dtype = list(record["shape"]), record["dtype"]
        if shape:
            shape[0] -= record.get("new_rows", 0)
        if record["kind"] == "quantised":
            made = code_contents(record, lacking[name])
            contents += made
            data[name] = exact_codes.packed(lacking[name].source, order_of(record))
            columns = record["quantisation"]["columns"]
            matrix = [len(lacking[name].source) // columns, columns]
            tensors.append({"dtype": dtype, "name": name, "rank": len(own), "shape": matrix})
            continue
        size = math.prod(shape) * BITS[dtype] // 8
        common, new, single = data[name][:size], data[name][size:], built.singles[name]
        if own:
            delta = exact.low_rank_delta(own, shape[0], math.prod(shape[1:]))
            single = exact.added(common, dtype, delta, "F32")
            exact.added(common, dtype, delta, dtype)  # it must be finite
            contents += component_contents(own)
        predictions[name] = bits_of(single, "F32")
        source = lacking[name].source
        groups = lacking[name].groups or ((last_class(dtype), 0, 4),)
        contents.append(run_bytes(source, predictions[name], dtype, groups))
        data[name] = bytes_of(source, dtype) + new
        tensors.append({"dtype": dtype, "name": name, "rank": len(own), "shape": shape})
    data = exact.with_casts(built.header, data)
    made = source_files(built, data)
    if built.source_headers or built.source_header is not None:
        built = with_source(built, {**made, **built.kept})
    paths = [result["path"] for result in built.header["results"]]
    results = [told(path, made[path]) for path in paths]
    header = {
        "container": hashlib.sha256(built.file).hexdigest(),
        "frames": [],
        "results": results,
        "tensors": tensors,
    }
    return BuiltResidual(
        with_contents(header, contents), built, predictions, {**made, **built.kept}
    )


def with_source(built: Built, files: Mapping[str, bytes]) -> Built:
    """A container that says that it was made from this file, or this folder."""
    listing = [told(path, file) for path, file in sorted(files.items())]
    digest = listing[0]["sha256"]
    if built.header["tree"]:
        digest = hashlib.sha256(exact.canonical(listing)).hexdigest()

    def change(header: Json) -> None:
        header["source"]["sha256"] = digest
        header["source"]["size"] = sum(map(len, files.values()))

    file = with_header(built, change)
    return replace(built, file=file, header=header_of(file))


def told(path: str, file: bytes) -> Json:
    return {"path": path, "sha256": hashlib.sha256(file).hexdigest(), "size": len(file)}


def source_files(built: Built, data: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the source that hold tensors, by path."""
    header = built.header
    if built.source_headers:
        files = [file for file in header["tree"] if file["kind"] == "tensors"]
        return {
            file["path"]: _kept(text, file["prefix"], data)
            for file, text in zip(files, built.source_headers, strict=True)
        }
    if built.source_header is not None:
        return {"model.safetensors": _kept(built.source_header, "", data)}
    return {"model.safetensors": source_file(header, data)}


def source_file(header: Json, data: Mapping[str, bytes]) -> bytes:
    """The source of a container without a `source_header`."""
    metadata = {"dsvd.source": header["source"]["sha256"], "format": "pt"}
    document: Json = {"__metadata__": metadata}
    body = b""
    for record in sorted(header["tensors"], key=lambda t: (-BITS[t["dtype"]], t["name"].encode())):
        own = data[record["name"]]
        offsets = [len(body), len(body) + len(own)]
        document[record["name"]] = {
            "dtype": record["dtype"],
            "shape": record["shape"],
            "data_offsets": offsets,
        }
        body += own
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def _kept(source_header: bytes, prefix: str, data: Mapping[str, bytes]) -> bytes:
    entries = json.loads(source_header)
    entries.pop("__metadata__", None)
    order = sorted(entries, key=lambda name: entries[name]["data_offsets"])
    body = b"".join(data[prefix + name] for name in order)
    return struct.pack("<Q", len(source_header)) + source_header + body


# Runs


def bits_of(data: bytes, dtype: str) -> list[int]:
    found: list[int] = np.frombuffer(data, f"<u{BITS[dtype] // 8}").tolist()
    return found


def order_of(record: Json) -> str:
    return str(record["quantisation"].get("order", ""))


def code_contents(record: Json, one: Lacking) -> list[bytes]:
    """The contents of the frames of a tensor of codes."""
    grid, bits = record["quantisation"]["grid"], 4 if order_of(record) else 8
    classes, coded = [], []
    for source, (code, found, up) in zip(one.source, one.predicted, strict=True):
        off = exact_codes.place_of(source, grid) - exact_codes.place_of(code, grid)
        classes.append(found)
        coded.append(folded(off, up, bits))
    groups = one.groups or ((255, 0, 4 if bits == 8 else 3),)
    run = coded_run(coded, classes, bits, groups)
    return [*(component_contents(one.own) if one.own else ()), run]


def bytes_of(bits: Bits, dtype: str) -> bytes:
    return np.array(bits, f"<u{BITS[dtype] // 8}").tobytes()


def place(u: int, bits: int) -> int:
    return (1 << bits) - 1 - u if u >> bits - 1 else u + (1 << bits - 1)


def rounded(x: int, dtype: str) -> int:
    """The bits of the prediction, from those of x, which is no NaN."""
    return bits_of(exact.cast(bytes_of([x], "F32"), "F32", dtype), dtype)[0]


def cut_off(x: int, dtype: str) -> int:
    """The lowest bits of x that the dtype lacks, as a signed integer; not for F32."""
    count = 23 - MANTISSA[dtype]
    low = x % (1 << count)
    return low - (1 << count) if low >> count - 1 else low


def is_up(x: int, dtype: str) -> bool:
    return dtype != "F32" and (cut_off(x, dtype) < 0) == (x >> 31 == 1)


def class_of(x: int, dtype: str) -> int:
    exponent = rounded(x, dtype) >> MANTISSA[dtype] & last_exponent(dtype)
    if dtype == "F32":
        return exponent
    quarter = 1 << 23 - MANTISSA[dtype] - 2
    return 2 * exponent + (not -quarter <= cut_off(x, dtype) < quarter)


def zigzag(source: int, x: int, dtype: str) -> int:
    bits = BITS[dtype]
    off = place(source, bits) - place(rounded(x, dtype), bits)
    return folded(off, is_up(x, dtype), bits)


def folded(off: int, up: bool, bits: int) -> int:
    """The zigzag form of so many places, where the border is up or not."""
    d = (-off if up else off) % (1 << bits)
    d -= (1 << bits) if d >> bits - 1 else 0
    return 2 * d if d >= 0 else -2 * d - 1


def apart(x: int, z: int, dtype: str) -> int:
    """The source that is so far from its prediction: inverse of `zigzag`."""
    bits = BITS[dtype]
    d = -(z >> 1) - 1 if z & 1 else z >> 1
    d = -d if is_up(x, dtype) else d
    found = (place(rounded(x, dtype), bits) + d) % (1 << bits)
    return found - (1 << bits - 1) if found >> bits - 1 else (1 << bits) - 1 - found


def run_bytes(source: Bits, xs: Bits, dtype: str, groups: Sequence[Group]) -> bytes:
    """A run, one element after another."""
    classes = [class_of(x, dtype) for x in xs]
    coded = [zigzag(s, x, dtype) for s, x in zip(source, xs, strict=True)]
    return coded_run(coded, classes, BITS[dtype], groups)


def coded_run(
    coded: Sequence[int], classes: Sequence[int], bits: int, groups: Sequence[Group]
) -> bytes:
    """A run of these zigzag forms."""
    own: list[list[int]] = [[] for _ in groups]
    for z, found in zip(coded, classes, strict=True):
        first = next(i for i, (last, _, _) in enumerate(groups) if found <= last)
        own[first].append(z)
    digits, low, rest = b"", b"", []
    for of_group, (_, shift, code) in zip(own, groups, strict=True):
        base, each = BASES[code]
        high = [min(z >> shift, base - 1) for z in of_group]
        digits += digit_bytes(high, base, each)
        low += planes([z & 2**shift - 1 for z in of_group], -(-shift // 8))
        rest += [(z >> shift) - (base - 1) for z in of_group if z >> shift >= base - 1]
    start = bytes((len(groups) - 1,)) + b"".join(struct.pack("<HBB", *group) for group in groups)
    return start + digits + low + planes(rest, -(-bits // 8))


def digit_bytes(digits: Sequence[int], base: int, each: int) -> bytes:
    shared = (digits[i : i + each] for i in range(0, len(digits), each))
    return bytes(sum(digit * base**i for i, digit in enumerate(some)) for some in shared)


def planes(values: Sequence[int], count: int) -> bytes:
    return bytes(value >> 8 * plane & 0xFF for plane in range(count) for value in values)


# Own components


def component_contents(own: Sequence[Component]) -> list[bytes]:
    """The table, and the numbers of components that fit into one frame."""
    a, b = (np.array([getattr(c, side) for c in own], np.int32) for side in "ab")
    table = ComponentTable(
        np.array([c.e for c in own], np.int64),
        np.abs(a.astype(np.int64)).max(axis=1),
        np.abs(b.astype(np.int64)).max(axis=1),
        np.array([c.s for c in own], np.float32),
    )
    sides = ((a, table.max_a), (b, table.max_b))
    runs = [run for side, most in sides for run in pack_rows(side, Rows(side.shape[1], most))]
    return [pack_table(table), b"".join(blocks(runs))]


# Files, also those that no writer makes


def with_contents(header: Json, contents: Sequence[bytes]) -> bytes:
    """A residual whose frames have these contents."""
    return with_zstd(header, contents, [zstd(content) for content in contents])


def with_zstd(header: Json, contents: Sequence[bytes], frames: Sequence[bytes]) -> bytes:
    """The same, with frames that were compressed in some way."""
    told = [
        {"raw": len(content), "stored": len(frame), "sha256": hashlib.sha256(frame).hexdigest()}
        for content, frame in zip(contents, frames, strict=True)
    ]
    return with_bytes(encode_residual({**header, "frames": told}), b"".join(frames))


def with_bytes(header: bytes, payload: bytes, **fields: int) -> bytes:
    """A residual of this header; `fields` are those of the prologue."""
    return sealed(header, payload, MAGIC, **fields)


def residual_header_of(file: bytes) -> Json:
    """The header of a residual as plain values."""
    data = header_bytes_of(file)
    header: Json = residual_decoder.read_header(data, len(file))
    assert encode_residual(header) == data
    return header


def frames_of(file: bytes) -> list[bytes]:
    """The zstd frames of a residual."""
    payload, frames = payload_of(file), []
    for entry in residual_header_of(file)["frames"]:
        frames.append(payload[: entry["stored"]])
        payload = payload[entry["stored"] :]
    return frames


def contents_of(file: bytes) -> list[bytes]:
    return [unzstd(frame) for frame in frames_of(file)]


def changed(one: BuiltResidual, change: Callable[[Json], object]) -> bytes:
    """Another header over the same payload."""
    header = one.header
    change(header)
    return with_bytes(encode_residual(header), payload_of(one.file))


def refilled(one: BuiltResidual, change: Callable[[Json, list[bytes]], object]) -> bytes:
    """Other contents of the frames. `change` takes the header and what the frames hold."""
    header, contents = one.header, contents_of(one.file)
    change(header, contents)
    return with_contents(header, contents)


def recompressed(one: BuiltResidual, compress: Callable[[bytes], bytes]) -> bytes:
    """The same contents, each frame made by `compress`."""
    contents = contents_of(one.file)
    return with_zstd(one.header, contents, [compress(content) for content in contents])
