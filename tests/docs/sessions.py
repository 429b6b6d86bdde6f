"""The examples of a page: commands with what they print, and pieces of Python, as a reader meets them.

To write into a page what its commands print in a folder of checkpoints, such as the demo's:

    HOME=EMPTY_FOLDER python -m tests.docs.sessions docs/lossless.md FOLDER
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsvd_registry.cli import main as dsvd

FENCE = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE = re.compile(r"^<!-- before the examples\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
ELLIPSIS = "..."
USER = "/home/you"


@dataclass(frozen=True)
class Command:
    """A line of a shell, and the lines that the page says it prints."""

    words: str
    printed: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Python:
    """A block of Python."""

    code: str
    line: int


def preparations(page: str) -> list[str]:
    """The commands that a page runs before its examples, out of the reader's sight."""
    return [line for block in BEFORE.findall(page) for line in block.splitlines() if line]


def examples(page: str) -> Iterator[Command | Python]:
    """The examples of a page, in order. A line `...` stands for any lines."""
    for fence in FENCE.finditer(page):
        line = page.count("\n", 0, fence.start()) + 2
        if fence[1] == "python":
            yield Python(fence[2], line)
            continue
        for piece in re.split(r"^(?=\$ )", fence[2], flags=re.MULTILINE):
            first, *rest = piece.rstrip("\n").split("\n")
            if first.startswith("$ "):
                yield Command(first[2:], tuple(rest), line)
            line += piece.count("\n")


class Shell:
    """Runs lines of a shell one after another in one folder; `dsvd` in this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.code = 0

    def run(self, line: str) -> str:
        """Everything that the line prints, on either stream, with the home folder by another name."""
        if line == "echo $?":
            return f"{self.code}\n"
        words = shlex.split(line)
        if words[0] == "dsvd" and not set(words) & set("|<>"):
            said = io.StringIO()
            with (
                contextlib.chdir(self._folder),
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
            ):
                self.code = dsvd(words[1:])
            printed = said.getvalue()
        else:
            done = subprocess.run(
                line,
                shell=True,
                executable="/bin/bash",
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                encoding="utf-8",
            )
            self.code, printed = done.returncode, done.stdout
        return printed.replace(os.environ["HOME"], USER)


# What differs from one model, machine and day to another, and what stands for it in a comparison.
VARIABLE = (
    (r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", "<digest>"),
    (r"\b[0-9A-F]{10}\b", "<digest>"),
    (r"SHA256:[A-Za-z0-9+/]{43}", "<key>"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "<time>"),
    (r"\b[a-z_]+(\.\w+){2,}", "<tensor>"),
    (r"\b1/\d[\d.]*", "#"),
    (r"\btau 0\.\d{3,}", "tau #"),
    (r"(?<![\w@./-])(?<!tau )-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?(?![\w-]|\.\w)( [kMGT]?B\b)?", "#"),
    (r"\s+", " "),
    (r"#( #)+", "#"),
)


def comparable(line: str) -> str:
    """The line with placeholders for numbers, digests and times: its words are what is compared."""
    for pattern, placeholder in VARIABLE:
        line = re.sub(pattern, placeholder, line)
    return line.strip()


def agree(written: tuple[str, ...], printed: str) -> bool:
    """Does the output that a page shows agree with what was printed?"""
    pattern = "".join(
        "(?:.*\n)*?" if line == ELLIPSIS else re.escape(comparable(line)) + "\n"
        for line in trimmed(written)
    )
    actual = "".join(comparable(line) + "\n" for line in trimmed(printed.splitlines()))
    return re.fullmatch(pattern, actual) is not None


def trimmed(lines: tuple[str, ...] | list[str]) -> list[str]:
    """The lines without the empty ones at their end."""
    return "\n".join(lines).rstrip().split("\n") if lines else []


def refreshed(page: str, shell: Shell) -> str:
    """The page with what its commands print in the shell's folder; a `...` stands where it stood."""
    for line in preparations(page):
        shell.run(line)

    def again(fence: re.Match[str]) -> str:
        if fence[1] != "console":
            return fence[0]
        lines = []
        for example in examples(fence[0]):
            assert isinstance(example, Command)
            said = trimmed(shell.run(example.words).splitlines())
            if ELLIPSIS in example.printed:
                before = example.printed.index(ELLIPSIS)
                after = len(example.printed) - before - 1
                said = [*said[:before], ELLIPSIS, *said[len(said) - after :]]
            lines += [f"$ {example.words}", *said]
        return "\n".join(("```console", *lines, "```"))

    return FENCE.sub(again, page)


def main() -> None:
    page = Path(sys.argv[1])
    text = refreshed(page.read_text(encoding="utf-8"), Shell(Path(sys.argv[2])))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
