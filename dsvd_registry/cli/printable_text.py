"""Text that is safe to show: names come from files that anyone may have written."""

from __future__ import annotations

import os


def printable(text: str) -> str:
    """`text` with everything escaped that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def color() -> bool | None:
    """click's argument of that name: None lets it find out whether there is a terminal."""
    return False if os.environ.get("NO_COLOR") else None
