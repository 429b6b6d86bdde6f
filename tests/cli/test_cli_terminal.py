"""Behaviour that depends on the output: a terminal, a pipe, a full disk."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dsvd_registry.cli.errors import BROKEN_PIPE, INTERRUPTED

from .conftest import Dsvd
from .program import PROGRAM, environment, run

PATIENCE = 600.0  # seconds, which only a program that hangs takes


def on_terminal(*words: str, cwd: Path, question: str = "", answer: str = "") -> tuple[int, str]:
    """Run a command on a terminal; `answer` is typed when `question` is seen.

    Gives the exit code and what was said.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        (*PROGRAM, *words),
        cwd=cwd,
        env=environment(TERM="xterm", COLUMNS="60"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    ) as process:
        os.close(theirs)
        said, asked, end = "", False, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            silent = not select.select([ours], [], [], 2.0)[0]
            if not silent:
                try:
                    said += os.read(ours, 4096).decode()
                except OSError:  # Linux: the program has ended
                    break
            # Typed again in silence: an interrupt between the prompt and the read is lost.
            if answer and question in said and (silent or not asked):
                os.write(ours, answer.encode())
                asked = True
        else:
            process.kill()
    os.close(ours)
    return process.returncode, said


def _take_terminal() -> None:
    os.close(os.open(os.ttyname(0), os.O_RDWR))


@pytest.mark.parametrize(
    ("answer", "code", "outcome"),
    [
        ("y\n", 0, "removed subject-42@1"),
        ("n\n", 0, "nothing was removed"),
        ("\x03", INTERRUPTED, "interrupted"),
        ("\x04", INTERRUPTED, "interrupted"),
    ],
)
def test_rm_asks(
    dsvd: Dsvd, here: Path, filled: Path, answer: str, code: int, outcome: str
) -> None:
    found, said = on_terminal(
        "rm", "subject-42@1", cwd=here, question="Remove subject-42@1?", answer=answer
    )
    assert (found, outcome in said) == (code, True)
    assert "Traceback" not in said
    assert dsvd("show", "subject-42@1").code == (3 if answer == "y\n" else 0)


def test_a_terminal_gets_colour_and_progress(here: Path, filled: Path) -> None:
    code, said = on_terminal("diff", "subject-42@1", "subject-42@2", cwd=here)
    assert code == 0
    assert "comparing" in said
    assert "\x1b[1mtensor" in said
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()
    assert plain[-1].split()[-1] == "total"


def test_a_pipe_gets_neither(here: Path, filled: Path) -> None:
    listed = run(*PROGRAM, "ls", cwd=here, COLUMNS="20")
    assert (listed.code, listed.err) == (0, "")
    assert "\x1b" not in listed.out
    assert len(listed.out.splitlines()) == 3


def test_a_reader_that_goes_away(here: Path, filled: Path) -> None:
    with subprocess.Popen(
        (*PROGRAM, "show", "subject-42", "--json"),
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (BROKEN_PIPE, b"")


@pytest.mark.parametrize("words", ["ls", "--help"])
def test_output_that_cannot_be_written(here: Path, filled: Path, words: str) -> None:
    done = run("sh", "-c", f'"{sys.executable}" -m dsvd_registry.cli {words} > /dev/full', cwd=here)
    assert done.code == 9
    assert done.err == "error: the operating system refused: No space left on device\n"


def test_an_encoding_that_lacks_a_sign(dsvd: Dsvd, here: Path, filled: Path) -> None:
    dsvd("note", "subject-42@1", "für 猫")
    for words in (("ls",), ("show", "subject-42@1", "--json")):
        done = run(*PROGRAM, *words, cwd=here, PYTHONIOENCODING="latin-1:strict", PYTHONUTF8="0")
        assert (done.code, done.err) == (0, "")
        assert "\\u732b" in done.out
