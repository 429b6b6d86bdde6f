"""An educational decoder of the `.dsvdr` residual, format version 1.

Written from `dsvd-residual-v1.md` alone, to be read beside it: the sections stand in its order and
have its names. What it shares with containers is in `reference_decoder.py`.

    python reference_residual.py CONTAINER BASE RESIDUAL OUTPUT

BASE is a safetensors file or a folder; OUTPUT becomes the source: a folder where the container has
a tree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
from reference_decoder import (
    BITS,
    RESULT,
    TENSOR,
    Array,
    Base,
    Codes,
    Fields,
    Files,
    Head,
    InvalidContainer,
    Json,
    Opened,
    Row,
    check_size,
    check_sizes,
    codes_of,
    decompress,
    digest,
    find_base_tensors,
    from_planes,
    kept_files,
    kept_head,
    low_rank_delta,
    matrix,
    need,
    open_container,
    open_frame,
    own_entries,
    packed,
    quantise,
    read,
    read_base,
    read_features,
    read_parts,
    read_prologue,
    read_rows,
    read_table,
    round_to,
    source_entries,
    string_sizes,
    tensors_at,
    text,
    uint,
    viewed_base,
    weights,
    whole_file,
    widen,
    with_casts,
    write_result,
    written_head,
)

# Overview

MAGIC = b"\x89DSVR\r\n\x1a"


class OpenedResidual(NamedTuple):
    header: Json
    frames: Iterator[tuple[Json, bytes]]  # what the header says of each, and its zstd frame


def open_residual(file: bytes) -> OpenedResidual:
    """All rules that need no container are checked, but those of what is in the frames."""
    stored, size, payload = read_prologue(file, MAGIC)
    header = read_header(decompress(stored, size, "the header"), len(file))
    frames = header["frames"]
    ends = list(accumulate(frame["stored"] for frame in frames))
    need(len(payload) == (ends[-1] if ends else 0), "the file must end with its last frame")
    components = sum(tensor["rank"] for tensor in header["tensors"])
    need(components <= 2**16 + len(file) // 4, "too many components for so small a file")
    pieces = ((f, payload[end - f["stored"] : end]) for f, end in zip(frames, ends, strict=True))
    return OpenedResidual(header, pieces)


# Header

DELTA_DTYPES = ("F32", "F16", "BF16")
CODE_BITS = {"F8_E4M3": 8, "F8_E5M2": 8, "I8": 8, "U8": 4}
FRAME = {"raw": uint(1, 2**26), "stored": uint(1, 2**26 + 2**20), "sha256": digest}
RESULT_FILE = {"path": text(), "sha256": digest, "size": uint()}
HEADER = {
    "container": digest,
    "tensors": [{**TENSOR, "rank": uint(0, 2**22)}, 0, 2**17],
    "frames": [FRAME, 0, 2**18],
    "results": [RESULT_FILE, 1, 2**14],
}


def read_header(data: bytes, file_size: int) -> Json:
    fields = Fields(data, file_size)
    read_features(fields)
    header = dict(read(fields, HEADER, "header"))
    need(fields.at == len(data), "the header must end with its last field")
    tensors = header["tensors"]
    names = [tensor["name"] for tensor in tensors]  # Python sorts them as their UTF-8
    need(names == sorted({*names}), "the names of tensors must ascend, none twice")
    for tensor in tensors:
        what, (m, n) = repr(tensor["name"]), matrix(tensor)
        check_size(tensor, what)
        known = tensor["dtype"] in (*DELTA_DTYPES, *CODE_BITS)
        need(known, f"{what}: there are no differences of its dtype")
        need(m * n > 0, f"{what} has no element")
        most = min(m, n) if len(tensor["shape"]) > 1 else 0
        need(tensor["rank"] <= most, f"{what} can have no more than {most} own components")
    need(sum(t["rank"] for t in tensors) <= 2**22, "the tensors have too many components")
    check_frames(header)
    return header


def check_fits(header: Json, file: bytes, container: Json) -> None:
    """The residual is of this container: `file`, whose header is `container`."""
    same = hashlib.sha256(file).hexdigest() == header["container"]
    need(same, "the residual goes with another container")
    records = {record["name"]: record for record in container["tensors"]}
    for tensor in header["tensors"]:
        record = records.get(tensor["name"], {"kind": "none"})
        fits = record["kind"] in ("low_rank", "dense", "quantised")
        fits = fits and record["dtype"] == tensor["dtype"]
        fits = fits and common_shape(record) == tensor["shape"]
        need(fits, f"{tensor['name']!r} is no such record of this dtype and shape")
    paths = [[result["path"] for result in told["results"]] for told in (header, container)]
    need(paths[0] == paths[1], "the results must have the paths of the container's, in order")


def common_shape(record: Json) -> list[int]:
    if record["kind"] == "quantised":
        columns = record["quantisation"]["columns"]
        return [codes_of(record) // columns, columns]
    first, *others = record["shape"] or [0]
    return [first - record.get("new_rows", 0), *others] if record["shape"] else []


# Frames

RUN = 2**20
MANTISSA = {"F32": 23, "F16": 10, "BF16": 7}


def split(count: int, most: int) -> list[int]:
    """As many times `most` as there are in `count`, and what is left."""
    return [min(most, count - first) for first in range(0, count, most)]


def frames_of(tensor: Json) -> Iterator[tuple[str, int, int]]:
    """What each of its frames holds, of how many components or elements, and the largest `raw`."""
    rank, (m, n), dtype = tensor["rank"], matrix(tensor), tensor["dtype"]
    if rank:
        yield "table", rank, 13 * rank
        for count in split(rank, max(1, 2**22 // (m + n))):
            yield "components", count, count * 4 * (m + n)
    for count in split(m * n, RUN):
        yield "run", count, count * (1 + 2 * BITS[dtype] // 8) + 1 + 4 * 256


def frame_count(tensor: Json) -> int:
    rank, (m, n) = tensor["rank"], matrix(tensor)
    own = 1 + -(-rank // max(1, 2**22 // (m + n))) if rank else 0
    return own + -(-m * n // RUN)


def check_frames(header: Json) -> None:
    frames, tensors = header["frames"], header["tensors"]
    # They are counted before they are gone through: a shape may claim any number of them.
    need(len(frames) == sum(map(frame_count, tensors)), "the tensors have another number of frames")
    held = (frame for tensor in tensors for frame in frames_of(tensor))
    for frame, (content, _, most) in zip(frames, held, strict=True):
        fits = frame["raw"] == most if content == "table" else frame["raw"] <= most
        need(fits, f"a frame of a {content} is too large, or not of the table's size")
        loose = frame["raw"] > 5 * 2**22 and frame["raw"] > 16 * frame["stored"]
        need(not loose, "a frame is over the limit of what so few bytes may become")


# Prediction


def own_delta(tensor: Json, frames: Iterator[tuple[Json, bytes]]) -> Array:
    """The exact sum of the own components, out of the tensor's frames that are no runs."""
    rank, what = tensor["rank"], repr(tensor["name"])
    contents = [f[:2] for f in frames_of(tensor) if f[0] == "components"]
    table = read_table([open_frame(*next(frames), 13 * rank)], what)
    sides: tuple[list[Array], list[Array]] = ([], [])
    first = 0
    for _, count in contents:
        rows = [
            Row(0, 0, side, length, maximum)
            for side, length in enumerate(matrix(tensor))
            for maximum in table.maxima[side][first : first + count]
        ]
        raw = sum(sum(string_sizes(row)) for row in rows)
        data = open_frame(*next(frames), raw)
        for row, x in zip(rows, read_rows(data, rows), strict=True):
            need(abs(x).max() == row.maximum, f"{what}: a component has not its table's maximum")
            sides[row.side].append(x)
        first += count
    return low_rank_delta(table.e, np.stack(sides[0]), np.stack(sides[1]))


def unrounded(
    tensor: Json, result: bytes, single: bytes, frames: Iterator[tuple[Json, bytes]]
) -> Array:
    """The binary32 numbers x, out of the common rows and what these are rounded from."""
    if not tensor["rank"]:
        return np.frombuffer(single, "<f4")
    delta, what = own_delta(tensor, frames), repr(tensor["name"])
    with np.errstate(all="ignore"):  # an overflow shows in the result
        x = (widen(result, tensor["dtype"]) + delta).astype("<f4")
        good = np.isfinite(widen(round_to(x, tensor["dtype"]), tensor["dtype"]))
    need(good.all(), f"{what}: the prediction has a NaN or an infinity")
    return x


class Predicted(NamedTuple):
    """A run's prediction: its elements, where the border is up, and the classes, all of integers."""

    p: Array
    up: Array
    classes: Array
    bits: int  # W
    top: int  # the largest class there is
    grid: str


def predicted_numbers(x: Array, dtype: str) -> Predicted:
    bits, mantissa, c = BITS[dtype], MANTISSA[dtype], 23 - MANTISSA[dtype]
    with np.errstate(all="ignore"):  # infinities stay what they are
        p = np.frombuffer(round_to(x, dtype), f"<u{bits // 8}").astype(np.int64)
    last = 2 ** (bits - 1 - mantissa) - 1
    exponent = p >> mantissa & last
    if dtype == "F32":
        return Predicted(p, np.zeros(len(p), bool), exponent, bits, last, "")
    u = x.view(np.uint32).astype(np.int64)
    sign, first, second = u >> 31, u >> c - 1 & 1, u >> c - 2 & 1
    return Predicted(p, sign == first, 2 * exponent + (first ^ second), bits, 2 * last + 1, "")


def predicted_codes(record: Json, made: Codes) -> Predicted:
    v = made.g.astype(np.float32).view(np.uint32).astype(np.int64)
    classes = np.where(np.isnan(made.g), 255, np.clip((v >> 21) - 316, 0, 255))
    bits, grid = CODE_BITS[record["dtype"]], record["quantisation"]["grid"]
    return Predicted(made.codes, made.up, classes, bits, 255, grid)


# Differences


def place(u: Array, bits: int, grid: str = "") -> Array:
    if grid == "map":
        return u
    if grid == "int8":
        return (u + 128) % 256
    return np.asarray(np.where(u >> (bits - 1), 2**bits - 1 - u, u + 2 ** (bits - 1)))


def bits_at(places: Array, bits: int, grid: str = "") -> Array:
    if grid in ("map", "int8"):
        return place(places, bits, grid)  # it undoes itself
    negative = places < 2 ** (bits - 1)
    return np.asarray(np.where(negative, 2**bits - 1 - places, places - 2 ** (bits - 1)))


def restored(z: Array, predicted: Predicted) -> Array:
    """The elements that are z away from the predicted ones, all as int64."""
    bits, grid = predicted.bits, predicted.grid
    d = np.where(z & 1, -(z >> 1) - 1, z >> 1)
    d = np.where(predicted.up, -d, d)
    return bits_at(place(predicted.p, bits, grid) + d & 2**bits - 1, bits, grid)


# Runs

DIGITS = {0: (2, 8), 1: (4, 4), 2: (6, 3), 3: (16, 2), 4: (256, 1)}  # code: B, D


class Bytes:
    """The bytes of a run, taken from its begin to its end."""

    def __init__(self, data: bytes) -> None:
        self.left = np.frombuffer(data, np.uint8)

    def take(self, count: int) -> Array:
        need(count <= len(self.left), "a run is shorter than its groups say")
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def planes(self, count: int, width: int) -> Array:
        planes = [self.take(count) for _ in range(width)]
        return from_planes(planes).astype(np.int64) if planes else np.zeros(count, np.int64)


def read_digits(data: Array, count: int, code: int) -> Array:
    base, each = DIGITS[code]
    packed = data.astype(np.int64)
    need((packed < base**each).all(), f"a byte of {each} digits must be less than {base**each}")
    found = np.stack([packed // base**i % base for i in range(each)], axis=1).reshape(-1)
    need(not found[count:].any(), "a digit behind the end of its group must be 0")
    return found[:count]


def read_run(data: bytes, predicted: Predicted) -> Array:
    """The bits of the source, as int64."""
    bits, top, held = predicted.bits, predicted.top, Bytes(data)
    entries = held.take(4 * (int(held.take(1)[0]) + 1)).reshape(-1, 4).T.astype(int)
    lasts, shifts, codes = entries[0] + 256 * entries[1], entries[2], entries[3]
    need((np.diff(lasts) > 0).all(), "the groups must rise")
    need(lasts[-1] == top, f"the last group must go up to {top}")
    need((shifts < bits).all(), f"a shift must be less than {bits}")
    need((codes <= 4).all(), "a code must be at most 4")
    group_of = np.searchsorted(lasts, predicted.classes)  # the first that is large enough
    groups = []  # the elements of each, its shift, its code
    for g, (shift, code) in enumerate(zip(shifts.tolist(), codes.tolist(), strict=True)):
        groups.append((np.flatnonzero(group_of == g), shift, code))
    high, low = (np.zeros(len(group_of), np.int64) for _ in range(2))
    for at, shift, code in groups:
        count, each = len(at), DIGITS[code][1]
        high[at] = read_digits(held.take(-(-count // each)), count, code)
        need((high[at] < 2 ** (bits - shift)).all(), "a digit is over the largest difference")
    for at, shift, _ in groups:
        low[at] = held.planes(len(at), -(-shift // 8))
        need((low[at] < 2**shift).all(), "a low plane has a bit of the digits")
    full = [at[high[at] == DIGITS[code][0] - 1] for at, _, code in groups]
    rest = held.planes(sum(map(len, full)), -(-bits // 8))
    need(not len(held.left), "a run is longer than its groups say")
    first = 0
    for at, (_, shift, code) in zip(full, groups, strict=True):
        more = rest[first : first + len(at)]
        most = 2 ** (bits - shift) - DIGITS[code][0]
        need((more <= most).all(), "a rest is over the largest difference")
        high[at] += more
        first += len(at)
    shift_of = shifts.astype(np.int64)[group_of]
    return restored((high << shift_of) + low, predicted)


def source_rows(
    tensor: Json, result: bytes, single: bytes, frames: Iterator[tuple[Json, bytes]]
) -> bytes:
    """The common rows of the source, out of those of the container's result."""
    dtype = tensor["dtype"]
    unsigned = np.dtype(f"<u{BITS[dtype] // 8}")
    x = unrounded(tensor, result, single, frames)
    rows = []
    for first in range(0, len(x), RUN):
        frame, stored = next(frames)
        data = open_frame(frame, stored, frame["raw"])
        part = predicted_numbers(x[first : first + RUN], dtype)
        rows.append(read_run(data, part).astype(unsigned).tobytes())
    return b"".join(rows)


def source_codes(
    opened: Opened,
    record: Json,
    tensor: Json,
    w: Array,
    data: dict[str, bytes],
    frames: Iterator[tuple[Json, bytes]],
) -> bytes:
    """A tensor of codes of the source, out of the viewed base in binary32."""
    if tensor["rank"]:
        with np.errstate(all="ignore"):
            w = (w.astype(np.float64) + own_delta(tensor, frames)).astype(np.float32)
    names = [other["name"] for other in opened.header["tensors"]]
    made = quantise(opened.header, record, w, lambda place: data[names[place]])
    runs = []
    for first in range(0, len(w), RUN):
        frame, stored = next(frames)
        run = open_frame(frame, stored, frame["raw"])
        part = Codes(*(of[first : first + RUN] for of in made))
        runs.append(read_run(run, predicted_codes(record, part)))
    return packed(record, np.concatenate(runs))


# Result files


def source_heads(opened: Opened) -> list[Head]:
    header, heads = opened.header, []
    for prefix, source in opened.files:
        if source is None:
            metadata = {"dsvd.source": header["source"]["sha256"], "format": "pt"}
            entries = own_entries(header)
            heads.append((written_head(metadata, entries), entries))
        else:
            heads.append((kept_head(source), source_entries(header, prefix, source)[1]))
    return heads


def check_results(header: Json, opened: Opened) -> list[Head]:
    heads, results = source_heads(opened), header["results"]
    check_sizes(heads, results)
    if opened.files[0][1] is not None:
        digest = results[0]["sha256"]
        if opened.header["tree"]:
            others = [file for file in opened.header["tree"] if file["kind"] != "tensors"]
            digest = listing_digest(results + others)
        need(digest == opened.header["source"]["sha256"], "the results must be the source")
    return heads


def canonical_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def listing_digest(files: list[Json]) -> str:
    in_order = sorted(files, key=lambda file: file["path"])
    listing = [{key: file[key] for key in ("path", "sha256", "size")} for file in in_order]
    return hashlib.sha256(canonical_json(listing)).hexdigest()


def decode(
    container: bytes, base: Base, residual: bytes, base_files: Files | None = None
) -> bytes | dict[str, bytes]:
    """The source: the bytes of `model.safetensors`, or by path those of all files of a tree."""
    header, frames = open_residual(residual)
    opened = open_container(container)
    check_fits(header, container, opened.header)
    heads = check_results(header, opened)
    given = kept_files(
        opened.header, read_parts(opened.header, opened.payload, "files"), base_files or {}
    )
    singles: dict[str, bytes] = {}
    data = tensors_at(opened, base, opened.header["encoding"]["tau"], singles)
    records = {record["name"]: record for record in opened.header["tensors"]}
    held = find_base_tensors(opened.header, base)
    for tensor in header["tensors"]:
        record = records[tensor["name"]]
        if record["kind"] == "quantised":
            w = weights(record, viewed_base(record, held))
            data[tensor["name"]] = source_codes(opened, record, tensor, w, data, frames)
            continue
        name, size = tensor["name"], math.prod(tensor["shape"]) * BITS[tensor["dtype"]] // 8
        common, new = data[name][:size], data[name][size:]
        data[name] = source_rows(tensor, common, singles[name], frames) + new
    data = with_casts(opened.header, data)
    for stated, head, (prefix, _) in zip(header["results"], heads, opened.files, strict=True):
        result = whole_file(head, prefix, data)
        same = hashlib.sha256(result).hexdigest() == stated["sha256"]
        need(same, f"{stated['path']}: the result has another SHA-256")
        given[stated["path"]] = result
    return given if opened.header["tree"] else given[RESULT]


# Command line


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode a .dsvdr residual of format version 1.")
    for name in ("container", "base", "residual", "output"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    try:
        base, files = read_base(options.base)
        residual = options.residual.read_bytes()
        result = decode(options.container.read_bytes(), base, residual, files)
        write_result(result, options.output)
    except (InvalidContainer, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
