"""`dsvd cat`: the bytes of a result, or a part of them, on standard output."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import Dsvd
from .program import PROGRAM, environment


def cat(*words: str) -> bytes:
    done = subprocess.run([*PROGRAM, "cat", *words], env=environment(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_all_and_a_part(dsvd: Dsvd, filled: Path) -> None:
    dsvd("materialize", "subject-42", "-o", "out.safetensors")
    whole = Path("out.safetensors").read_bytes()
    assert cat("subject-42") == whole
    assert cat("subject-42", "--file", "model.safetensors", "--offset", "50") == whole[50:]
    assert cat("subject-42", "--offset", "100", "--size", "2000") == whole[100:2100]
    assert cat("subject-42", "--offset", str(len(whole)), "--size", "5") == b""
    assert cat("subject-42", "--offset", str(10 * len(whole))) == b""


def test_another_form(dsvd: Dsvd, filled: Path) -> None:
    form = ("--dtype", "fp16", "--tau", "0.3")
    dsvd("materialize", "subject-42", "-o", "half.safetensors", *form)
    assert cat("subject-42", *form) == Path("half.safetensors").read_bytes()


def test_the_files_as_json(dsvd: Dsvd, filled: Path) -> None:
    done = dsvd("materialize", "subject-42", "-o", "out.safetensors", "--json")
    written = done.document["written"]
    told = dsvd("cat", "subject-42", "--json").document
    assert told["files"] == [
        {"path": "model.safetensors", "size": written["size"], "sha256": written["sha256"]}
    ]
    (lower,) = dsvd("cat", "subject-42", "--tau", "0.3", "--json").document["files"]
    assert lower["sha256"] is None


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("cat subject-42 --file other", 3, "no file 'other'"),
        ("cat subject-42 --tau 0.99", None, "tau"),
        ("cat nobody", 3, "nobody"),
        ("cat subject-42 --offset -1", 2, "offset"),
    ],
)
def test_refusals(dsvd: Dsvd, filled: Path, words: str, code: int | None, message: str) -> None:
    done = dsvd(*words.split())
    assert done.code if code is None else done.code == code
    assert message in done.err
    assert done.out == ""
