"""Results over HTTP: the seconds of a whole GET over loopback beside those of the same bytes read in a
process without a server, and the server's peak memory while 8 clients read all of 20 versions.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from dsvd_registry import Registry

from .startup import DSVD

TENSORS, SHAPE = 16, (1024, 4096)  # of 16 MiB each in fp32
VERSIONS, READERS, RUNS = 20, 8, 3
AIM_RATIO, AIM_MEMORY = 1.3, 1 << 30
CHUNK = 1 << 20
READ = """
import sys, time
from dsvd_registry import Registry
with Registry.open(sys.argv[1]) as registry, registry.open_result(sys.argv[2]) as file:
    file.read_at(0, 1)
    start = time.perf_counter()
    for offset in range(0, file.size, 1 << 20):
        file.read_at(offset, 1 << 20)
    print(time.perf_counter() - start)
"""


def measure() -> list[dict[str, object]]:
    """Two rows: seconds of a version that was not read before, in turns, and bytes of memory."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _make(Path(folder))
        alone, served = [], []
        for run in range(RUNS):
            ref = f"subject-{run % VERSIONS}"
            done = subprocess.run(
                (sys.executable, "-c", READ, registry, ref), capture_output=True, check=True
            )
            alone.append(float(done.stdout))
            with _serving(registry) as (url, _):
                _read(f"{url}/v1/materialize/{ref}", first=1)
                start = time.perf_counter()
                _read(f"{url}/v1/materialize/{ref}")
                served.append(time.perf_counter() - start)
        return [
            {
                "figure": "GET of a whole result",
                "runs": RUNS,
                "unit": "seconds",
                "value": round(median(served), 3),
                "read_alone": round(median(alone), 3),
                "ratio": round(median(served) / median(alone), 2),
                "aim": f"ratio {AIM_RATIO}",
            },
            {
                "figure": f"memory over the interpreter, {READERS} readers of {VERSIONS} versions",
                "runs": 1,
                "unit": "bytes",
                "value": _peak_memory(registry),
                "read_alone": None,
                "ratio": None,
                "aim": AIM_MEMORY,
            },
        ]


def _peak_memory(registry: Path) -> int:
    bare = "print(open('/proc/self/status').read())"
    interpreter = subprocess.run(
        (sys.executable, "-c", bare), capture_output=True, text=True, check=True
    ).stdout
    with _serving(registry) as (url, process), ThreadPoolExecutor(READERS) as readers:
        addresses = [f"{url}/v1/materialize/subject-{n}" for n in range(VERSIONS)]
        list(readers.map(lambda _: [_read(address) for address in addresses], range(READERS)))
        status = Path(f"/proc/{process.pid}/status").read_text()
    return _high_water(status) - _high_water(interpreter)


def _high_water(status: str) -> int:
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _read(url: str, first: int | None = None) -> None:
    headers = {} if first is None else {"Range": f"bytes=0-{first - 1}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        while answer.read(CHUNK):
            pass


@contextlib.contextmanager
def _serving(registry: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = (DSVD, "--registry", registry, "serve", "--port", "0", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline()
        try:
            yield json.loads(text)["url"], process
        finally:
            process.terminate()


def _make(folder: Path) -> Path:
    """A registry with versions of one base, each with deltas of low rank."""
    make = torch.Generator().manual_seed(0)
    names = [f"layer{number}.weight" for number in range(TENSORS)]
    base = {name: torch.randn(*SHAPE, generator=make) for name in names}
    save_file(base, folder / "base.safetensors")
    with Registry.init(folder / "registry") as registry:
        registry.add_base("base", folder / "base.safetensors", link=True)
        for number in range(VERSIONS):
            left = {name: torch.randn(SHAPE[0], 8, generator=make) for name in names}
            tuned = {
                name: base[name] + 1e-3 * factor @ torch.randn(8, SHAPE[1], generator=make)
                for name, factor in left.items()
            }
            save_file(tuned, folder / "tuned.safetensors")
            registry.add(
                folder / "tuned.safetensors", base="base", name=f"subject-{number}", tau=0.5
            )
    return folder / "registry"
