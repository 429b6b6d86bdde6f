"""The header `Range` of a request (RFC 9110, section 14)."""

from __future__ import annotations

import re

MOST_RANGES = 16
_RANGE = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")


class NotSatisfiable(Exception):
    """Ranges of which none lies in the file, or too many of them: status 416."""


def byte_ranges(header: str, size: int) -> list[tuple[int, int]] | None:
    """The ranges [start, end) of a file of `size` bytes that the header asks for.

    Returns None for a header that is not valid or of another unit, which is ignored. Raises
    `NotSatisfiable`, also for more than `MOST_RANGES` or for ranges that together are longer than the
    file, which only overlapping ones can be.
    """
    unit, equals, specified = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    asked = [text.strip() for text in specified.split(",")]
    if len(asked) > MOST_RANGES:
        raise NotSatisfiable
    found = []
    for text in filter(None, asked):
        match = _RANGE.fullmatch(text)
        if match is None or text == "-":
            return None
        first, last = match.groups()
        if first and last and int(first) > int(last):
            return None
        if not first:
            start, end = max(0, size - int(last)), size
        else:
            start, end = int(first), min(size, int(last) + 1) if last else size
        if start < end:
            found.append((start, end))
    if not any(asked):
        return None
    if not found or sum(end - start for start, end in found) > size:
        raise NotSatisfiable
    return found
