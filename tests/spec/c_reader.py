"""Runs spec/reader.c, which was written from the text alone and shares with the package only zstd."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .readers import files_in

STATUS = {"container": 2, "unsupported": 3, "base": 4, "result": 5}


@dataclass(frozen=True)
class CReader:
    """The compiled program."""

    program: Path

    def ask(
        self, file: Path, base: Path, output: Path, tau: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        given = [] if tau is None else [f"{tau:.6f}"]
        return subprocess.run(
            [self.program, file, base, output, *given], capture_output=True, text=True, check=False
        )

    def gives(
        self, file: Path, base: Path, output: Path, tau: float | None = None
    ) -> bytes | dict[str, bytes]:
        """The result's bytes, by path for a folder."""
        done = self.ask(file, base, output, tau)
        assert (done.returncode, done.stderr) == (0, "")
        return files_in(output) if output.is_dir() else output.read_bytes()
