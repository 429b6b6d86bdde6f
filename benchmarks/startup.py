"""Seconds of commands that have almost nothing to do, compared with the bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from dsvd_registry import Registry

RUNS = 15
AIMS = {"dsvd --version": 0.2, "dsvd ls": 0.4}  # seconds
DSVD = str(Path(sys.executable).parent / "dsvd")


def measure() -> list[dict[str, object]]:
    """One row per command: median seconds of whole processes, in turns, and the ratio to `python`."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _small_registry(Path(folder))
        commands = {
            "dsvd --version": [DSVD, "--version"],
            "dsvd ls": [DSVD, "--registry", str(registry), "ls"],
        }
        return in_turns(commands, AIMS)


def in_turns(
    commands: Mapping[str, Sequence[str]], aims: Mapping[str, float]
) -> list[dict[str, object]]:
    """Time whole processes, one of each command and of `python -c pass` per round, as rows.

    `aims`: in seconds; a command may have none.
    """
    yardstick = "python -c pass"
    all_commands = {yardstick: [sys.executable, "-c", "pass"], **commands}
    seconds: dict[str, list[float]] = {name: [] for name in all_commands}
    for run in range(RUNS + 1):
        for name, command in all_commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if run:  # the first run fills the caches
                seconds[name].append(time.perf_counter() - start)
    return [
        {
            "command": name,
            "runs": RUNS,
            "median_seconds": round(median(times), 3),
            "times_python": round(median(times) / median(seconds[yardstick]), 1),
            "aim_seconds": aims.get(name),
        }
        for name, times in seconds.items()
    ]


def _small_registry(folder: Path) -> Path:
    """A registry with twenty versions of one tiny pair."""
    torch.manual_seed(0)
    base = {"weight": torch.randn(16, 16)}
    save_file(base, folder / "base.safetensors")
    with Registry.init(folder / "registry") as registry:
        registry.add_base("base", folder / "base.safetensors")
        for number in range(20):
            tuned = {"weight": base["weight"] + 1e-3 * torch.randn(16, 16)}
            save_file(tuned, folder / "ft.safetensors")
            registry.add(folder / "ft.safetensors", base="base", name=f"subject-{number}")
    return folder / "registry"
