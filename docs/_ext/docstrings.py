"""Docstrings as the project writes them, made ready for Sphinx.

They are plain text in which single backticks quote code and an indented block is code. Characters
that reStructuredText would read as markup are escaped, and blocks of code are marked as such.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

LIST_ITEM = re.compile(r"([-*+]|\d+\.)\s")
EXAMPLE = re.compile(r"Examples?:$")
BEFORE_NAPOLEON = 400  # which takes sections such as "Args:" apart, with the priority 500


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", prepare, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True}


def prepare(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    lines[:] = marked(lines)


def marked(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    made: list[str] = []
    in_code = False
    for number, line in enumerate(lines):
        indented = line.startswith(" ")
        if line and not indented:
            in_code = False
        elif indented and not in_code and starts_code(lines[:number], line):
            in_code = True
            made += ["    ::" if EXAMPLE.match(lines[number - 1]) else "::", ""]
        if in_code:
            made.append(f"    {line}" if line else "")
        else:
            made.append(line if line.lstrip().startswith(">>>") else escaped(line))
    return made


def starts_code(before: list[str], line: str) -> bool:
    """True for the first line of an indented block after a paragraph, or below "Example:"."""
    if before and EXAMPLE.match(before[-1]):
        return not line.lstrip().startswith(">>>")
    text = [earlier for earlier in before if earlier]
    if not text or before[-1]:
        return False
    after_paragraph = not text[-1].startswith(" ") and not LIST_ITEM.match(text[-1])
    return after_paragraph and not text[-1].endswith("::")


def escaped(line: str) -> str:
    """The line with what reStructuredText would read as markup escaped, outside of backticks."""
    pieces = re.split(r"(:[a-z:]+:`[^`]*`|``[^`]*``|`[^`]*`)", line)
    return "".join(
        piece if number % 2 else re.sub(r"(\||\*(?=\S)|(?<=\w)_(?!\w))", r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )
