"""Seeds as a list on the command line."""

from __future__ import annotations

import re
from typing import Any

import click

MOST_SEEDS = 10_000


class Seeds(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """A parameter type: whole numbers and ranges of them, separated by commas."""

    name = "N,N-M,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        found: list[int] = []
        for part in str(value).split(","):
            ends = re.fullmatch(r"\s*([0-9]{1,18})(?:-([0-9]{1,18}))?\s*", part)
            first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
            if not first <= last < first + MOST_SEEDS:
                self.fail(f"{value!r} is not a list of seeds, such as 0-3 or 1,5,9", param, ctx)
            found.extend(range(first, last + 1))
        return tuple(found)
