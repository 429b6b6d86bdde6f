"""Processes of the tests, forked from one that has imported whatever they need.

To import torch and the rest of it takes seconds each time, to fork nothing. What a process runs must
be in a module that is named here: it would import any other for itself, with all that that imports.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
MODULES = (
    *(f"registry.{name}" for name in ("child", "cache_child", "crowd", "many_child")),
    "registry.unprivileged",
    "faults.program",
)
# A child that dies or has no disk must not leave half a file of bytecode in the tree.
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def start_fork_server() -> None:
    """Start the process that others are forked from, unless it runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        CONTEXT.set_forkserver_preload(list(MODULES))
        forkserver.ensure_running()
