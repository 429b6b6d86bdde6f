"""Calls of the installed `dsvd` program, with its output shown."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


class DemoError(Exception):
    """An error that stops the demo; its text says what is wrong and what to do."""


class Dsvd:
    """The `dsvd` program in the folder of this Python, run in one folder with a registry of its own."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("dsvd", path=str(Path(sys.executable).parent))
        if program is None:
            raise DemoError("dsvd is not installed for this Python: run pip install -e '.[demo]'")
        self._program = program
        self._folder = folder
        self._environment = os.environ | {
            "DSVD_REGISTRY": str(folder / ".dsvd"),
            "COLUMNS": str(shutil.get_terminal_size((100, 24)).columns),
        }

    def show(self, *words: str) -> None:
        """Run `dsvd WORDS` and print the command and its output."""
        print(f"\n$ {shlex.join(('dsvd', *words))}", flush=True)
        print(self._run(words), end="", flush=True)

    def stored_size(self, ref: str) -> int:
        """The bytes of the container that `ref` names, and of its residual if it has one."""
        report: dict[str, Any] = json.loads(self._run(("show", ref, "--json")))
        residual = report["residual"]
        return int(report["size"]) + (int(residual["size"]) if residual else 0)

    def _run(self, words: tuple[str, ...]) -> str:
        done = subprocess.run(
            (self._program, *words),
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            output = "\n".join(text.strip() for text in (done.stdout, done.stderr) if text.strip())
            command = shlex.join(("dsvd", *words))
            raise DemoError(f"`{command}` ended with exit code {done.returncode}:\n{output}")
        return done.stdout
