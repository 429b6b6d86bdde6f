"""`python -m fuzz.run [TARGET...]`: each target for its share of FUZZ_SECONDS (300 in all).

The exit status is 1 if a target found a bug; the input is then in its corpus. Each target runs in a
process of its own, because libFuzzer takes over its process.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import HERE, TARGETS, corpus

SECONDS = 300
MOST_BYTES = 1 << 15  # of an input: small ones reach all branches of the readers
MOST_SECONDS = 20  # for one input
MOST_MEGABYTES = 1024


def main(names: list[str]) -> int:
    seconds = max(1, int(os.environ.get("FUZZ_SECONDS", SECONDS)) // len(names))
    failed = []
    for name in names:
        child = [sys.executable, "-m", "fuzz.run", "--one", name, str(seconds)]
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            status = subprocess.run(child, cwd=HERE.parent, stderr=log, check=False).returncode
            log.seek(0)
            output = log.read()
        print(f"{name:15} {_summary(output)}{'' if not status else '   FOUND A BUG'}", flush=True)
        if status:
            failed.append(name)
            print(output[-4000:])
    return bool(failed)


def _summary(output: str) -> str:
    runs = re.findall(r"number_of_executed_units: *(\d+)", output)
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)
    covered, features, kept = reached[-1] if reached else ("?", "?", "?")
    return (
        f"{runs[-1] if runs else '?':>9} executions, {covered:>5} branches, "
        f"{features:>6} features, {kept:>5} inputs kept"
    )


def fuzz_one(name: str, seconds: str) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["dsvd_registry"]):
        target = importlib.import_module(f"fuzz.{name}")
        from dsvd_registry.errors import DsvdError

    with tempfile.TemporaryDirectory() as top:
        folder, seeds, grown = (Path(top) / name for name in ("folder", "seeds", "grown"))
        for made in (folder, seeds, grown, corpus(name)):
            made.mkdir(exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            (seeds / f"{number}").write_bytes(seed)

        def one(data: bytes) -> None:
            try:
                target.read(data, folder)
            except DsvdError as error:
                assert str(error) and str(error).isprintable()

        options = [
            f"-max_total_time={seconds}",
            f"-max_len={MOST_BYTES}",
            f"-timeout={MOST_SECONDS}",
            f"-rss_limit_mb={MOST_MEGABYTES}",
            f"-artifact_prefix={corpus(name)}/",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, str(grown), str(seeds), str(corpus(name))], one)
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(*sys.argv[2:4])
    else:
        sys.exit(main(sys.argv[1:] or list(TARGETS)))
