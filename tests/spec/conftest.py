"""The reader in C, compiled once for all tests of the formats."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .c_reader import CReader
from .readers import SPEC

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
CONTRACTION = "-ffp-contract=off"  # a fused product and sum would round once where two are meant


@pytest.fixture(scope="session")
def c_reader(tmp_path_factory: pytest.TempPathFactory) -> CReader:
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is missing (apt-get install gcc libc6-dev libzstd-dev)"
    program = tmp_path_factory.mktemp("c_reader") / "reader"
    options = ["-std=c11", "-O2", *WARNINGS, CONTRACTION]
    source: Path = SPEC / "reader.c"
    subprocess.run([compiler, *options, source, "-o", program, "-lzstd", "-lm"], check=True)
    return CReader(program)
