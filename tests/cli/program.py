"""Running `dsvd` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "dsvd_registry.cli")


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error on stderr of a command with --json."""
        error: dict[str, Any] = json.loads(self.err)["error"]
        return error


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the program to be found in it."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


def run(*command: str, cwd: Path, **more: str) -> Outcome:
    """Run a command to its end; what it says need not be UTF-8."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=600,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
