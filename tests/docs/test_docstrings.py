"""Docstrings in the project's own plain style are understood by Sphinx."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from .conftest import DOCS


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    monkeypatch.delitem(sys.modules, "docstrings", raising=False)
    from docstrings import marked

    return marked


def test_characters_of_markup_are_escaped_outside_of_backticks(marked) -> None:
    assert marked(["Norm |dW| of *.ckpt, `a|b`, name_ and some_name."]) == [
        r"Norm \|dW\| of \*.ckpt, `a|b`, name\_ and some_name."
    ]


def test_an_indented_block_after_a_paragraph_is_code(marked) -> None:
    assert marked(["Use it.", "", "    x = |y|", "", "    z", "", "Text."]) == [
        *("Use it.", "", "::", "", "        x = |y|", "", "        z", "", "Text.")
    ]


def test_sections_and_lists_stay_as_they_are(marked) -> None:
    section = ["Args:", "    name: A name.", "", "    more of it", "", "- an item", "", "  more"]
    assert marked(section) == section


def test_code_in_an_example_is_marked_and_a_session_is_left(marked) -> None:
    assert marked(["Example:", "    x = f(*y)"]) == ["Example:", "    ::", "", "        x = f(*y)"]
    session = ["Example:", "    >>> f(*y)", "    1"]
    assert marked(session) == session


def test_docstrings_begin_with_a_noun_or_a_verb() -> None:
    """A newcomer need not decode those of the package and the benchmarks."""
    root = Path(__file__).parents[2]
    begins = re.compile(r'"""(What|How|Which|Whether|Of|As|Who|Whom|Where|That|Why)\b')
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for folder in ("dsvd_registry", "benchmarks", "migrations")
        for path in sorted((root / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if begins.match(line.strip())
    ]
    assert found == []
