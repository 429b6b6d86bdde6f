"""Text that is safe to print, because names come from files that anyone may have written."""

from __future__ import annotations

import os


def printable(text: str) -> str:
    """The text with all characters escaped that could control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def color() -> bool | None:
    """The argument `color` of click: False with NO_COLOR, None to let click look for a terminal."""
    return False if os.environ.get("NO_COLOR") else None
