"""Every example of the pages and of the README is run, and prints what the page says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import DOCS, ROOT
from .sessions import Command, Python, Shell, agree, examples, preparations

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
}
WITH_EXAMPLES = [name for name, page in PAGES.items() if any(examples(page))]


def test_the_comparison_sees_another_word() -> None:
    written = ("added subject-42@1", "2.1 MB for 37.8 MB (1/17.6) at tau 0.8", "...")
    assert agree(written, "added subject-42@1\n12 B for 1.8 kB (1/3) at tau 0.8\n\nmore\n")
    assert not agree(written, "added subject-42@2\n12 B for 1.8 kB (1/3) at tau 0.8\n")
    assert not agree(written, "added subject-42@1\n12 B for 1.8 kB (1/3) at tau 0.5\n")
    assert not agree(written[:2], "added subject-42@1\n12 B for 1 kB (1/3) at tau 0.8\nmore\n")
    assert not agree((), "something\n")


def test_the_pages_that_need_examples_have_them() -> None:
    assert {"README.md", "docs/getting-started.md", "docs/lossless.md"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str, desk: Path, request: pytest.FixtureRequest) -> None:
    shell = Shell(desk)
    if "dsvd evaluate" in PAGES[name]:
        shutil.copytree(request.getfixturevalue("painting"), desk / "painting")
    for line in preparations(PAGES[name]):
        said = shell.run(line)
        assert shell.code == 0, f"{name}, before the examples: {line}\n{said}"
    names: dict[str, object] = {}
    found = list(examples(PAGES[name]))
    for number, example in enumerate(found):
        place = f"{name}, line {example.line}"
        if isinstance(example, Python):
            if "pipe" in example.code:
                names["pipe"] = request.getfixturevalue("pipe")
            exec(compile(example.code, place, "exec"), names)
            continue
        said = shell.run(example.words)
        assert agree(example.printed, said), f"{place}: {example.words}\n{said}"
        if shell.code:
            then = found[number + 1 : number + 2]
            assert example.words == "echo $?" or [
                follower.words for follower in then if isinstance(follower, Command)
            ] == ["echo $?"], f"{place}: {example.words} ends with {shell.code}"
