"""Tasks in fresh processes, so that no task profits or suffers from the memory of another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Arguments = Mapping[str, Any]


class TaskFailed(Exception):
    """The error of a task that failed; the task has printed the cause."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task.

    `seconds`: of its timed part. `over`: its peak memory in bytes, 0 if not measured. `answer`: its
    result.
    """

    seconds: float
    over: int
    answer: dict[str, Any]


def run_fresh(task: str, arguments: Arguments, *, memory: bool = False) -> Outcome:
    """Run a function of `tasks.TASKS` in a new interpreter. Raises `TaskFailed`."""
    request = json.dumps({"task": task, "arguments": dict(arguments), "memory": memory})
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.harness.tasks", request],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        raise TaskFailed(f"{task} ended with {done.returncode}; its error is printed above")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))
