"""Sizes as people write them: "20MB", "1.5 GiB", "4096"."""

from __future__ import annotations

import re
from typing import Any

import click

UNITS = {"": 1, "b": 1} | {
    name: base**power
    for power, letter in enumerate("kmgt", 1)
    for name, base in ((letter, 1000), (f"{letter}b", 1000), (f"{letter}ib", 1024))
}
PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """A parameter type: a number of bytes. kB to TB are powers of 1000, KiB to TiB of 1024."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = PATTERN.fullmatch(str(value))
        if match is None or match[2].lower() not in UNITS:
            self.fail(f"{value!r} is not a size, such as 20MB or 1.5GiB", param, ctx)
        return int(float(match[1]) * UNITS[match[2].lower()])


SIZE = Size()
