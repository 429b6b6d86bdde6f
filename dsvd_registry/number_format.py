"""Figures, sizes and times as text for people."""

from __future__ import annotations

import math
from datetime import datetime

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """A number of bytes in powers of 1000: "353.8 MB"."""
    if abs(count) < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        if abs(value) < 999.95 or unit == _UNITS[-1]:
            return f"{value:.1f} {unit}"
    raise AssertionError


def ratio(part: int, whole: int) -> str:
    """The ratio of `part` to `whole`: "1/9.3"; empty for a part of 0."""
    return f"1/{whole / part:.1f}" if part else ""


def count(value: int) -> str:
    """A count with separated thousands: "859,520,964"."""
    return f"{value:,}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A count with its noun: "1 version", "3 versions"."""
    return f"{count(number)} {noun if number == 1 else plural or f'{noun}s'}"


def relative(value: float | None) -> str:
    """A relative error or distance with three digits; empty for None."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    return "infinite" if math.isinf(value) else f"{value:#.3g}".removesuffix(".")


def share(value: float | None, digits: int = 3) -> str:
    """An energy or a cosine with a fixed number of decimals; empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def rank(value: int | None) -> str:
    """A rank; empty for None."""
    return "" if value is None else str(value)


def moment(value: datetime) -> str:
    """A time in the time zone of this machine, to the minute."""
    return datetime.fromtimestamp(value.timestamp()).isoformat(" ", "minutes")
