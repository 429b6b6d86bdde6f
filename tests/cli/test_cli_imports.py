"""The imports of each command, seen from the outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dsvd_registry.cli import main

from .program import run

HEAVY = ("torch", "diffusers", "transformers", "alembic", "sqlalchemy")
# Each takes longer to import than a command that only asks the catalog takes to run.
SLOW = (*HEAVY, "numpy", "safetensors", "rich", "asyncio", "email")
NOT_FOR_NUMPY = (*HEAVY, "scipy", "safetensors")
WATCHED = """
import atexit, sys
atexit.register(lambda: print(*sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr))
from dsvd_registry.cli import main
sys.exit(main())
"""


def imported(folder: Path, *words: str) -> set[str]:
    done = run(sys.executable, "-c", WATCHED, *words, cwd=folder)
    assert done.code == 0, done.err
    return set(done.err.splitlines()[-1].split())


@pytest.mark.parametrize("words", ["--version", "--help"])
def test_what_needs_no_registry_imports_next_to_nothing(here: Path, words: str) -> None:
    modules = imported(here, words)
    assert "click" in modules
    assert not modules.intersection((*SLOW, "sqlite3", "difflib"))


@pytest.mark.parametrize(
    "words",
    [
        "ls",
        "ls subject-* --base sd15 --since 1d --json",
        "log subject-42",
        "du",
        "base ls",
        "tag add subject-42 good",
        "alias set prod subject-42@1",
        "note subject-42 text",
        "rm subject-42@1 --yes",
        "gc --grace 0",
    ],
)
def test_what_asks_the_catalog_alone_imports_nothing_slow(
    here: Path, filled: Path, words: str
) -> None:
    modules = imported(here, *words.split())
    assert "sqlite3" in modules
    assert not modules.intersection(SLOW)


@pytest.mark.parametrize("words", ["show subject-42", "base show sd15", "verify"])
def test_what_needs_no_tensor_imports_no_torch(here: Path, filled: Path, words: str) -> None:
    modules = imported(here, *words.split())
    assert "sqlite3" in modules
    assert not modules.intersection((*HEAVY, "rich"))


def test_the_test_sees_torch(here: Path, filled: Path, checkpoints: Path) -> None:
    """And SciPy's linear algebra: spectra need both."""
    words = ("--base=sd15", "--name=subject-42", "--tau=0.3")
    modules = imported(here, "add", str(checkpoints / "ft.safetensors"), *words)
    assert {"torch", "scipy", "numpy"} <= modules


NUMPY_ALONE = (
    "materialize subject-42 -o out.safetensors",
    "materialize subject-42@1 -o out.safetensors --dtype fp16",
    "materialize subject-42 -o out.safetensors --dtype bf16 --tau 0.3",
    "verify --deep",
    "verify subject-42 --deep",
    "diff subject-42@1 subject-42@2",
    "diff subject-42 --base",
    "export subject-42 --format dsvd -o out.dsvd",
)


@pytest.mark.parametrize("words", NUMPY_ALONE)
def test_what_gives_a_checkpoint_back_needs_numpy_alone(
    here: Path, filled: Path, words: str
) -> None:
    modules = imported(here, *words.split())
    assert "numpy" in modules
    assert not modules.intersection(NOT_FOR_NUMPY)


def test_a_container_comes_in_with_numpy_alone(here: Path, filled: Path) -> None:
    assert main(["export", "subject-42", "--format=dsvd", "-o", "out.dsvd"]) == 0
    modules = imported(here, "import", "out.dsvd", "--name=again")
    assert "numpy" in modules
    assert not modules.intersection(NOT_FOR_NUMPY)


def test_a_lossless_version_comes_back_with_numpy_alone(
    here: Path, filled: Path, checkpoints: Path
) -> None:
    source = checkpoints / "ft.safetensors"
    assert main(["add", str(source), "--base=sd15", "--name=whole", "--lossless"]) == 0
    for words in ("materialize whole -o out.safetensors", "verify whole --deep"):
        modules = imported(here, *words.split())
        assert "numpy" in modules
        assert not modules.intersection(NOT_FOR_NUMPY)
    assert (here / "out.safetensors").read_bytes() == source.read_bytes()


def test_the_test_sees_what_makes_the_tables(here: Path) -> None:
    assert {"alembic", "sqlalchemy"} <= imported(here, "init", "new")


def test_a_known_checkpoint_needs_no_torch(here: Path, filled: Path, checkpoints: Path) -> None:
    words = ("--base=sd15", "--name=subject-42")
    modules = imported(here, "add", str(checkpoints / "ft.safetensors"), *words)
    assert not modules.intersection(HEAVY)
