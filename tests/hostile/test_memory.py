"""Whatever it is sent, a reader takes a bounded memory: JSON is weighed, entries are counted before.

Seen to fail: with `canonical.MAX_WEIGHT` at 2^40 "keys" took 291 MiB in a container, "objects" 420 MiB
in a safetensors file; with `weight` that counts no fourfold width one wide string took 224 MiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from dsvd_registry.errors import DsvdError

from . import heavy
from .crafted_pickles import PICKLES, legacy
from .reading import READERS

BOUND = 64 << 20
BOUND_OF_A_HEADER = 128 << 20  # of a container of under 1 MiB
BOUND_OF_TENSORS = 384 << 20  # of a safetensors file: its header has up to 16 MiB, and 2^17 tensors
ROOT = Path(__file__).parents[2]

WRAPPED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "safetensors": ("checkpoint", lambda text: heavy.safetensors(b'{"a":' + text + b"}")),
    "metadata": (
        "checkpoint",
        lambda text: heavy.safetensors(b'{"__metadata__":{"a":' + text + b"}}"),
    ),
    "listing": ("listing", lambda text: text),
    "event": ("log", lambda text: b'{"event":' + text + b"}"),
    "signature": ("signature", lambda text: b'{"statement":' + text + b"}"),
}
wrapped = pytest.mark.parametrize("where", WRAPPED)


def bound(where: str) -> int:
    return BOUND_OF_TENSORS if where in ("safetensors", "metadata") else BOUND


@pytest.fixture
def peak(tmp_path: Path) -> Callable[[str, bytes], tuple[int, DsvdError | None]]:
    """Memory that reading takes, and the error that it ends in."""

    def read(reader: str, data: bytes) -> tuple[int, DsvdError | None]:
        error = None
        tracemalloc.start()
        try:
            READERS[reader](data, tmp_path)
        except DsvdError as raised:
            error = raised
        finally:
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return most, error

    return read


Peak = Callable[[str, bytes], tuple[int, DsvdError | None]]


@wrapped
@pytest.mark.parametrize("name", ["objects", "keys", "wide strings"])
def test_the_largest(peak: Peak, where: str, name: str) -> None:
    """16 MiB of JSON."""
    reader, wrap = WRAPPED[where]
    most, error = peak(reader, wrap(heavy.array(name)))
    assert error is not None and most < bound(where)


@pytest.mark.parametrize(
    ("where", "name"),
    [
        *(("event", name) for name in heavy.UNITS),
        *(("safetensors", name) for name in ("objects of one", "keys", "long strings")),
        *((where, "wide strings") for where in WRAPPED),
    ],
)
def test_the_heaviest(peak: Peak, where: str, name: str) -> None:
    """As much as is let through to be parsed."""
    reader, wrap = WRAPPED[where]
    most, error = peak(reader, wrap(heavy.array(name, least=True)))
    assert error is not None and "weigh" not in str(error)
    assert most < bound(where)


@wrapped
@pytest.mark.parametrize("wide", [False, True])
def test_one_string(peak: Peak, where: str, wide: bool) -> None:
    reader, wrap = WRAPPED[where]
    most, error = peak(reader, wrap(heavy.single_string(wide=wide)))
    assert (error is None) == (where == "metadata")
    assert most < bound(where)


@pytest.mark.parametrize("name", heavy.ENTRIES)
def test_a_header_of_valid_entries(peak: Peak, name: str) -> None:
    """Each entry keeps its own rules; that their frames are not there is found last, if at all."""
    data = heavy.filled_container(*heavy.ENTRIES[name])
    assert len(data) < 1 << 20
    most, _ = peak("container", data)
    assert most < BOUND_OF_A_HEADER


def test_as_many_tensors_as_there_may_be(peak: Peak) -> None:
    most, error = peak("checkpoint", heavy.many_tensors())
    assert error is None and most < BOUND_OF_TENSORS


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle(tmp_path: Path, name: str) -> None:
    """1 MiB of opcodes that make objects, read in a process of its own.

    Seen to fail: with `STEPS_OF_ANY_FILE` at 2^24 "memo" took 82 MiB and "dictionaries" 73 MiB;
    without the steps of names (`STEPS_OF_A_VALUE`, `NAME_OF_A_STEP`) "long names" took 828 MiB.
    """
    path = tmp_path / "hostile.ckpt"
    path.write_bytes(legacy(PICKLES[name]()))
    assert path.stat().st_size < (1 << 20) + 4096
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    child = [sys.executable, "-B", "-m", "hostile.memory_child", "torch_legacy", str(path)]
    ended = subprocess.run(child, env=environment, capture_output=True, text=True, check=True)
    assert int(ended.stdout.split(" ")[0]) < BOUND
