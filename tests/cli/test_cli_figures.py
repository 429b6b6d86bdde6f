"""The text form of figures and values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dsvd_registry import number_format
from dsvd_registry.cli.documents import plain
from dsvd_registry.cli.printable_text import printable


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (353_800_000, "353.8 MB"),
        (3_276_800_000, "3.3 GB"),
        (10**19, "10000.0 PB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert number_format.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0"),
        (0.5, "0.500"),
        (0.01234, "0.0123"),
        (1.0, "1.00"),
        (123.4, "123"),
        (1.234e-7, "1.23e-07"),
        (math.inf, "infinite"),
    ],
)
def test_relative(value: float | None, text: str) -> None:
    assert number_format.relative(value) == text


def test_counts() -> None:
    assert number_format.counted(1, "version") == "1 version"
    assert number_format.counted(0, "version") == "0 versions"
    assert number_format.counted(1234, "alias", "aliases") == "1,234 aliases"
    assert number_format.ratio(100, 930) == "1/9.3"
    assert number_format.ratio(0, 930) == ""


def test_printable() -> None:
    assert printable("naïve 猫 ok") == "naïve 猫 ok"
    assert printable("a\nb\x1b[0m\x9b\u202e\udcff") == "a\\nb\\x1b[0m\\x9b\\u202e\\udcff"


@dataclass(frozen=True)
class Value:
    path: Path
    when: datetime
    numbers: tuple[float, ...]
    nothing: None = None


def test_plain() -> None:
    when = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
    value = Value(Path("a/b"), when, (1.5, math.inf, math.nan))
    assert plain({"value": [value]}) == {
        "value": [
            {
                "path": "a/b",
                "when": "2026-01-31T12:30:00Z",
                "numbers": [1.5, None, None],
                "nothing": None,
            }
        ]
    }
