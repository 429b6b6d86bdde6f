"""What the text of the spec says in examples and tables, held against the code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dsvd_registry import canonical
from dsvd_registry.checkpoint.folder_listing import (
    check_paths,
    listing_bytes,
    listing_digest,
    parse_listing,
)
from dsvd_registry.checkpoint.tensor_info import BITS, DELTA_DTYPES, Fingerprint, weights_digest
from dsvd_registry.checkpoint.tree import ListedFile
from dsvd_registry.codec.quantise import GRIDS, SCALE_RULES
from dsvd_registry.container import limits
from dsvd_registry.container.quantisation import ARRANGEMENTS, ORDERS, SECOND_RULES
from dsvd_registry.container.records import (
    AIMS,
    FILE_KINDS,
    FRAME_ORDER,
    RAW_REASONS,
    RECORD_KINDS,
    RESULT_PATH,
    VIEW_KINDS,
)
from dsvd_registry.container.rows import DIGITS, FrameRows, Rows, blocks, pack_rows, width
from dsvd_registry.errors import CheckpointError
from dsvd_registry.hashing import sha256

from .annotated import listing
from .make_vectors import VECTORS, built_vectors, rules_of_the_text
from .readers import SPEC, decoder
from .valid_vectors import small

TEXT = (SPEC / "dsvd-container-v1.md").read_text()


def section(title: str) -> str:
    """A section's text, without those below it."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def words(cell: str) -> list[str]:
    """The words in code type."""
    return re.findall(r"`([^`]+)`", cell)


def number(text: str) -> int:
    """`2^24 + 2^16` and the like."""
    terms = re.findall(r"([+-]?)\s*(\d+)(?:\^(\d+))?", text)
    return sum(
        (-1 if sign == "-" else 1) * int(base) ** int(power or 1) for sign, base, power in terms
    )


def test_weights_digest() -> None:
    block = re.search(r"```json\n(.*?)```", section("Digest of a base"), re.DOTALL)
    assert block is not None
    example = json.loads(block[1])
    data, shape = bytes.fromhex(example["bytes"]), tuple(example["shape"])
    assert data == struct.pack("<2f", 0, 1)
    tensor = Fingerprint(example["name"], example["dtype"], shape, sha256(data))
    assert weights_digest([tensor]) == example["weights_digest"]
    held = {example["name"]: (example["dtype"], shape, data)}
    assert decoder.weights_digest(held) == example["weights_digest"]


def test_limits() -> None:
    told = dict(rows("Limits"))
    exponents = [int(n) for n in told.pop("exponents").strip("[]").split(",")]
    assert exponents == [limits.MIN_EXPONENT, limits.MAX_EXPONENT]
    assert (limits.MAX_RAW_OF_STORED, limits.BYTES_OF_A_COMPONENT) == (16, 4)
    assert (limits.MAX_HEADER_OF_STORED, limits.BYTES_OF_AN_ENTRY) == (16, 8)
    loose = told.pop("`raw` of a frame that is over 16 times its `stored`")
    assert loose == "5 * 2^22 bytes" and limits.FREE_FRAME_RAW == 5 * 2**22
    values = told.pop(
        "characters `[`, `{`, `,` of all `source_header`, less those of its tensors (S3)"
    )
    assert number(values) == limits.FREE_VALUES
    most = {
        name: limit.split(" bytes")[0].removeprefix("magnitude ") for name, limit in told.items()
    }
    assert {name: number(limit) for name, limit in most.items()} == {
        "H, header": limits.MAX_HEADER,
        "S, stored header": limits.MAX_HEADER_STORED,
        "H that is over 16 times S": limits.FREE_HEADER,
        "entries of all lists of a header together, less an eighth of F": limits.FREE_ENTRIES,
        "dimensions of all shapes together, less F": limits.FREE_DIMENSIONS,
        "`raw` of a frame": limits.MAX_FRAME_RAW,
        "`stored` of a frame": limits.MAX_FRAME_STORED,
        "tensors; entries of left out": limits.MAX_TENSORS,
        "frames": limits.MAX_FRAMES,
        "parts, all frames together": limits.MAX_PARTS,
        "`raw` of all `source_header` frames together": limits.MAX_SOURCE_HEADER,
        "components, all tensors together": limits.MAX_COMPONENTS,
        "components, all tensors together, less a quarter of F": limits.FREE_COMPONENTS,
        "files of a tree": limits.MAX_FILES,
        "base tensors of a record": limits.MAX_BASE_TENSORS_PER_RECORD,
        "dimensions": limits.MAX_DIMENSIONS,
        "a name, a path, a reason": limits.MAX_NAME_BYTES,
        "a source format, a feature": limits.MAX_FORMAT_BYTES,
        "features": limits.MAX_FEATURES,
        "any uint": limits.MAX_SIZE,
        "versions, and layers, of a merge": limits.MAX_MERGED,
        "product of a shape's dimensions that are not 0, times 16": limits.MAX_SIZE,
        "integer of a row": limits.MAX_MAGNITUDE,
    }
    window = re.search(r"`Window_Size` is at most (2\^\d+)", section("Compression"))
    assert window is not None and number(window[1]) == limits.MAX_WINDOW


def test_every_rule_is_tried() -> None:
    """Each numbered rule has vectors, and the procedure names rules that there are."""
    rules = rules_of_the_text()
    assert len(set(rules)) == len(rules)
    table = re.findall(r"^\| (\w+) \| (.*) \|$", (VECTORS / "rules.md").read_text(), re.MULTILINE)
    tried = dict(table[1:])
    assert list(tried) == rules and all(tried.values())
    for first, last in re.findall(r"\b([A-Z]\d+)(?: to ([A-Z]\d+))?", section("Decoding")):
        assert {first, last or first} <= {*rules, "SHA"}


def test_a_file_in_hexadecimal() -> None:
    assert section("A file in hexadecimal").strip() == listing(built_vectors()["annotated"]).strip()


def test_digits() -> None:
    maxima, counts = (row[1:] for row in _table_of_digits())
    told = {int(maximum): int(count) for maximum, count in zip(maxima, counts, strict=True)}
    assert told == DIGITS == decoder.DIGITS
    most = {m: max(d for d in range(1, 9) if (2 * m + 1) ** d <= 256) for m in range(1, 9)}
    assert most == {**told, 8: 1}
    for maximum in range(1, 12):
        size = -(-100 // told.get(maximum, 1))
        assert Rows.one(100, maximum).nbytes == size
        assert decoder.string_sizes(decoder.Row(0, 0, 0, 100, maximum)) == [size]


def _table_of_digits() -> list[list[str]]:
    lines = re.findall(r"^ +\|(.*)\|$", section("Rows"), re.MULTILINE)
    head, _, *others = ([cell.strip() for cell in line.split("|")] for line in lines)
    return [head, *others]


def test_example_of_rows() -> None:
    text = section("Rows")
    block = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert block is not None
    frame = bytes.fromhex(block[1])
    told = re.search(
        r"integers ([-\d, ]+) and `maximum` (\d+), the second with\s+([-\d, ]+) and `maximum` (\d+)",
        text,
    )
    assert told is not None
    tensors = [[int(x) for x in told[i].split(",")] for i in (1, 3)]
    maxima = [int(told[i]) for i in (2, 4)]
    groups = [Rows.one(len(x), most) for x, most in zip(tensors, maxima, strict=True)]
    arrays = [np.array([x], np.int32) for x in tensors]
    runs = [
        run for array, group in zip(arrays, groups, strict=True) for run in pack_rows(array, group)
    ]
    assert b"".join(blocks(runs)) == frame
    rows = [
        decoder.Row(i, i, 0, len(x), most)
        for i, (x, most) in enumerate(zip(tensors, maxima, strict=True))
    ]
    reading = FrameRows(groups)
    for number, (array, row) in enumerate(zip(arrays, rows, strict=True)):
        out = np.empty_like(array)
        largest = reading.read(memoryview(frame), number, out)
        assert largest.tolist() == [row.maximum] and (out == array).all()
    found = decoder.read_rows(frame, rows)
    assert [x.tolist() for x in found] == tensors


def test_example_of_tree() -> None:
    text = section("Trees")
    block = re.search(r"```json\n(.*)\n```", text)
    digest = re.search(r"whose SHA-256 is `([0-9a-f]{64})`", text)
    assert block is not None and digest is not None
    file = ListedFile("config.json", sha256(b"{}"), 2)
    assert listing_bytes([file]) == block[1].encode()
    assert listing_digest([file]) == digest[1] == sha256(block[1].encode())
    assert parse_listing(block[1].encode()) == (file,)


@pytest.mark.parametrize("character", [*'\\:*?"<>|\x00\x1f\x7f', "a/b", "\x80", "~"])
def test_characters_of_paths(character: str) -> None:
    told = re.search(r"none of `(.*?)`; no name", section("Trees"))
    assert told is not None
    for path in (character, f"a/{character}b"):
        refused = character in told[1].split() or ord(character[0]) < 0x20 or character == "\x7f"
        fits = re.fullmatch(f"{decoder.NAME}(/{decoder.NAME})*", path)
        assert bool(fits) == (not refused)
        with pytest.raises(CheckpointError) if refused else contextlib.nullcontext():
            check_paths([path])


def test_prologue() -> None:
    lines = section("Prologue").splitlines()
    table = [line.split(maxsplit=3) for line in lines if re.match(r"    \d", line)]
    position = 0
    for offset, size, kind, _ in table:
        assert int(offset) == position
        assert kind == ("u32" if size == "4" else "-")
        position += int(size)
    assert position == limits.PROLOGUE_SIZE
    assert int(table[-1][0]) == limits.CHECKED_PROLOGUE_SIZE
    magic = re.search(r"magic: ([0-9A-F ]+?)\s+\(", section("Prologue"))
    assert magic is not None and bytes.fromhex(magic[1]) == limits.MAGIC
    version = re.search(r"format version: (\d+)", section("Prologue"))
    assert version is not None and int(version[1]) == limits.VERSION
    file = small().build().file
    (stored,) = struct.unpack_from("<I", file, 12)
    assert file[24:56] == hashlib.sha256(file[:24] + file[56 : 56 + stored]).digest()


def test_dtypes() -> None:
    table = section("Records").split("\n\n")
    lines = [line for part in table if part.startswith("| bits") for line in part.splitlines()[2:]]
    told = [
        (int(code), dtype, int(bits))
        for bits, codes in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
        for code, dtype in re.findall(r"(\d+): `(\w+)`", codes)
    ]
    assert [code for code, _, _ in told] == list(range(len(BITS)))
    assert [(dtype, bits) for _, dtype, bits in told] == list(BITS.items())
    assert list(decoder.BITS.items()) == list(BITS.items())
    delta = re.search(r"\*Delta dtypes\* are (.*?)\.", section("Records"))
    assert delta is not None and tuple(words(delta[1])) == DELTA_DTYPES


def test_codes() -> None:
    """The words of each list of codes, in their order."""
    told = {
        (title, row[0]): tuple(words(cell))
        for title in ("Header", "Records", "Quantised weights", "Frames", "Trees")
        for row in rows(title)
        for cell in row[1:2]
        if cell.startswith("code")
    }
    assert told.pop(("Records", "dtype")) == told.pop(("Records", "bits")) == ()
    assert told == {
        ("Header", "aim"): AIMS,
        ("Records", "kind"): RECORD_KINDS,
        ("Records", "view"): VIEW_KINDS,
        ("Records", "reason"): ("raw", *RAW_REASONS),
        ("Quantised weights", "grid"): GRIDS,
        ("Quantised weights", "order"): (*ORDERS, "e2m1", "map"),
        ("Quantised weights", "rule"): SCALE_RULES,
        ("Quantised weights", "arrangement"): ARRANGEMENTS,
        ("Quantised weights", "second rule"): SECOND_RULES,
        ("Frames", "content"): FRAME_ORDER,
        ("Trees", "kind"): FILE_KINDS,
    }
    assert f"`{RESULT_PATH}`" in section("Header")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (1e-05, "1e-05"),
        (1e-4, "0.0001"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.5e-7, "1.5e-07"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        ({"b": [1, -2], "a": None}, '{"a":null,"b":[1,-2]}'),
        ('"\\/', '"\\"\\\\/"'),
        ("\b\t\n\f\r\x00\x1f\x7f", '"\\b\\t\\n\\f\\r\\u0000\\u001f\\u007f"'),
        ("é\uffff", '"\\u00e9\\uffff"'),
        ("\U0001f600", '"\\ud83d\\ude00"'),
        ({"\U0001f600": 1, "\uffff": 2}, '{"\\uffff":2,"\\ud83d\\ude00":1}'),
    ],
)
def test_canonical_json(value: Any, text: str) -> None:
    """What the section says of spellings; keys go by their characters, not by UTF-16."""
    encode: Callable[[Any], bytes] = canonical.encode
    assert encode(value) == text.encode()
    assert canonical.decode(text.encode()) == value


def test_widths() -> None:
    told = re.search(r"\(127 has the width 1, 128 has 2, 2\^31 - 1 has 4\.\)", section("Rows"))
    assert told is not None
    for maximum, expected in ((127, 1), (128, 2), (2**31 - 1, 4)):
        assert width(maximum) == decoder.width(maximum) == expected
