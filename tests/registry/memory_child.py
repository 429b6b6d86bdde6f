"""Adds, materialises or merges in a process of its own, and prints its peak of anonymous memory."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from benchmarks.harness.memory import PeakMemory
from dsvd_registry import Registry

if __name__ == "__main__":
    verb, place, file = sys.argv[1:]
    torch.ones(1 << 10).mul_(2)  # torch is loaded, as in the benchmark
    with Registry.open(place) as registry:
        peak = PeakMemory()
        with peak:
            if verb == "add":
                registry.add(file, base="base", name="subject")
            elif verb == "merge":  # all versions, into a model that is called like `file`
                refs = [version.ref for version in registry.versions()]
                registry.merge([(ref, 1 / len(refs)) for ref in refs], name=Path(file).name)
            else:
                registry.materialize("subject", Path(file))
    sys.stdout.write(str(peak.over))
