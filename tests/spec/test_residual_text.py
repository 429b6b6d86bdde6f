"""What the residual's text says in examples and tables, held against the code."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from dsvd_registry.container import limits
from dsvd_registry.container.frames import RESIDUAL
from dsvd_registry.residual.digits import BASES, per_byte
from dsvd_registry.residual.ordered import FORMATS
from dsvd_registry.residual.predicted import differences, predicted_floats
from dsvd_registry.residual.records import (
    COMPONENT_NUMBERS,
    RESIDUAL_FORMATS,
    ResidualFrame,
    ResidualHeader,
    ResidualTensor,
)
from dsvd_registry.residual.run import ELEMENTS, decode_run, most_bytes

from . import residual_building as plain
from .readers import SPEC
from .residual_readers import residual_decoder
from .residual_vectors_valid import plain as plain_vector

TEXT = (SPEC / "dsvd-residual-v1.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def found(pattern: str, title: str) -> re.Match[str]:
    match = re.search(pattern, section(title), re.DOTALL)
    assert match is not None, pattern
    return match


def tables(title: str) -> list[list[list[str]]]:
    """The tables of a section, each without its head."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", section(title), re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]
        for block in blocks
    ]


def test_prologue() -> None:
    magic = bytes.fromhex(found(r"magic ([0-9A-F ]+?) \(", "Overview")[1])
    assert magic == RESIDUAL.magic == residual_decoder.MAGIC == plain.MAGIC
    assert len(magic) == len(limits.MAGIC)


def test_fields() -> None:
    """The tables' fields are those of both readers, and of a file."""
    header, tensor = ([row[0].strip("`") for row in rows] for rows in tables("Header"))
    assert header[0] == "requires"
    assert header[1:] == list(residual_decoder.HEADER) == list(plain_vector().header)
    own = [field.name for field in dataclasses.fields(ResidualHeader)]
    assert own == header[1:]
    (read, *_) = residual_decoder.HEADER["tensors"]
    assert tensor == list(read)
    assert tensor == [field.name for field in dataclasses.fields(ResidualTensor)]
    frames = next(row for row in tables("Header")[0] if row[0] == "`frames`")[2]
    told = re.findall(r"`(\w+)`, (?:uint|digest)", frames)
    assert told == list(residual_decoder.FRAME)
    assert [*told, "offset"] == [field.name for field in dataclasses.fields(ResidualFrame)]


def test_formats() -> None:
    dtypes = re.findall(r"`(\w+)`", tables("Header")[1][1][1])
    assert dtypes[:3] == list(FORMATS) == list(residual_decoder.MANTISSA)
    assert dtypes == list(RESIDUAL_FORMATS)
    assert dtypes[3:] == list(residual_decoder.CODE_BITS)
    mantissa = found(r"lowest (\d+) \(`F32`\), (\d+) \(`F16`\)\s+or (\d+) \(`BF16`\)", "Prediction")
    told = dict(zip(("F32", "F16", "BF16"), map(int, mantissa.groups()), strict=True))
    assert told == residual_decoder.MANTISSA == plain.MANTISSA
    assert told == {dtype: of.mantissa for dtype, of in FORMATS.items()}
    largest = {row[0].strip("`"): int(row[2]) for row in tables("Prediction")[0][1:]}
    for dtype, of in RESIDUAL_FORMATS.items():
        assert of.last_class == largest.get(dtype, largest["codes"])
        if dtype in FORMATS:
            assert of.last_class == plain.last_class(dtype)
    cut = found(r"c is (\d+) for `F16` and (\d+) for `BF16`", "Prediction")
    assert [FORMATS[dtype].cut for dtype in ("F16", "BF16")] == [int(c) for c in cut.groups()]


def test_codes() -> None:
    """B and D of each code, and that D is the most that a byte has room for."""
    lines = re.findall(r"^\| (?:code|B|D) .*$", section("Runs"), re.MULTILINE)
    codes, bases, counts = ([int(x) for x in re.findall(r"\d+", line)] for line in lines)
    told = list(zip(bases, counts, strict=True))
    assert codes == list(range(len(BASES)))
    assert tuple(bases) == BASES and counts == [per_byte(base) for base in BASES]
    assert dict(zip(codes, told, strict=True)) == residual_decoder.DIGITS
    assert tuple(told) == plain.BASES
    assert all(base**count <= 256 < base ** (count + 1) for base, count in told)


def test_sizes_of_frames() -> None:
    run = found(r"the first 2\^(\d+) elements of the tensor", "Frames")
    assert 2 ** int(run[1]) == ELEMENTS == residual_decoder.RUN
    numbers = found(r"max\(1, floor\(2\^(\d+) / \(m \+ n\)\)\)", "Frames")
    assert 2 ** int(numbers[1]) == COMPONENT_NUMBERS
    more = int(found(r"`raw` is at most n \(1 \+ 2 w\) \+ (\d+)", "Frames")[1])
    for dtype, w in (("F32", 4), ("F16", 2), ("BF16", 2)):
        assert most_bytes(100, FORMATS[dtype]) == 100 * (1 + 2 * w) + more
    assert most_bytes(ELEMENTS, FORMATS["F32"]) < limits.FREE_FRAME_RAW


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shape", [(1,), (7, 5), (3, 2, 1), (3000, 2000), (1, 2**23), (2**20 + 1,)])
def test_number_of_frames(dtype: str, shape: tuple[int, ...]) -> None:
    for rank in (0, 1, min(shape)) if len(shape) > 1 else (0,):
        tensor = ResidualTensor("w", dtype, shape, rank)
        told = {"dtype": dtype, "name": "w", "shape": list(shape), "rank": rank}
        frames = list(residual_decoder.frames_of(told))
        assert len(frames) == tensor.frames == residual_decoder.frame_count(told)
        counts = [count for content, count, _ in frames if content == "components"]
        assert tuple(counts) == tensor.component_counts
        counts = [count for content, count, _ in frames if content == "run"]
        assert counts == [tensor.run_elements(number) for number in range(tensor.runs)]


def test_example() -> None:
    """The run of four elements, step by step."""
    example = section("Runs").split("Example: ")[1]
    words = [int(x, 16) for x in re.findall(r"(?<![.\w])[0-9A-F]{4}\b", example)]
    p, s, places_p, places_s = (words[4 * i : 4 * i + 4] for i in range(4))
    assert [plain.place(u, 16) for u in p] == places_p
    assert [plain.place(u, 16) for u in s] == places_s
    numbers = re.search(r"d is ([-\d, ]+) and z ([\d, ]+)\.", example)
    assert numbers is not None
    d, z = ([int(x) for x in text.split(",")] for text in numbers.groups())
    x = [int(word, 16) for word in re.findall(r"\b[0-9A-F]{8}\b", example)]
    signs = [-1 if plain.is_up(u, "F16") else 1 for u in x]
    off = (a - b for a, b in zip(places_s, places_p, strict=True))
    assert [sign * away for sign, away in zip(signs, off, strict=True)] == d
    assert [plain.rounded(u, "F16") for u in x] == p
    of, source = FORMATS["F16"], np.array(s, np.uint16)
    unrounded = np.array(x, np.uint32)
    guess = predicted_floats(np.array(p, np.uint16), unrounded, of)
    assert differences(source, guess).tolist() == z
    told = re.search(r"classes\s+are ([\d, ]+)\.", example)
    assert told is not None
    assert guess.classes.tolist() == [int(x) for x in told[1].split(",")]
    block = re.search(r"these (\d+) bytes:\s+```text\n(.*?)```", example, re.DOTALL)
    assert block is not None
    run = bytes.fromhex(block[2])
    assert len(run) == int(block[1])
    told_groups = re.findall(r"to (\d+) \(shift (\d), B = 2\)", example)
    groups = [(int(last), int(shift), 0) for last, shift in told_groups]
    assert plain.run_bytes(s, x, "F16", groups) == run
    assert decode_run(memoryview(run), guess).tolist() == s
    predicted = residual_decoder.predicted_numbers(unrounded.view("<f4"), "F16")
    assert residual_decoder.read_run(run, predicted).tolist() == s


def test_order_of_numbers() -> None:
    """-0.0 comes right before 0.0, and NaNs lie at both ends."""
    assert found(r"-0\.0 comes right before 0\.0, and NaNs lie at both ends", "Differences")
    everything = np.arange(2**16).astype("<u2")
    by_place = everything[np.argsort(residual_decoder.place(everything.astype(np.int64), 16))]
    values = by_place.view("<f2")
    assert np.isnan(values[[0, -1]]).all()
    finite = values[~np.isnan(values)].astype(float)
    assert (np.diff(finite) >= 0).all()
    zero = int(np.flatnonzero(by_place == 0)[0])
    assert by_place[zero - 1] == 0x8000
