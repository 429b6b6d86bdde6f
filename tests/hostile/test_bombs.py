"""What is no JSON and yet grows: at most 64 MiB above the interpreter with its imports, for any input
of under 1 MiB; read in a process of its own, by the readers that are fuzzed.

What is made from an input on request is not bounded by it: a tensor that is asked for takes its own
size, and a result is made over a base, which must have tensors of these sizes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from spec.readers import decoder

from . import bombs, residual_bombs

BOUND = 64 << 20
ROOT = Path(__file__).parents[2]


def taken(target: str, data: bytes, path: Path) -> tuple[int, str]:
    """The most memory, in bytes, and the error, if there was one."""
    assert len(data) < 1 << 20
    path.write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    child = [sys.executable, "-B", "-m", "hostile.memory_child", target, str(path)]
    ended = subprocess.run(child, env=environment, capture_output=True, text=True, check=True)
    memory, _, error = ended.stdout.partition(" ")
    return int(memory), error


@pytest.mark.parametrize("name", bombs.REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    """Seen to fail: without the limit on `raw` of little `stored` frames of 2^26 took 64.2 MiB, without
    `check_size` 2^22 components 199 MiB, without the sum of `source_header` frames those took 1024 MiB,
    with `MAX_SPREAD_BYTES` at 2^28 a tensor took 256 MiB, and without `_check_total` 2000 tensors of
    one number, 8 GiB in all, were read.
    """
    target, make = bombs.REFUSED[name]
    memory, error = taken(target, make(), tmp_path / "bomb")
    assert error and memory < BOUND


@pytest.mark.parametrize("name", bombs.READ)
def test_read(tmp_path: Path, name: str) -> None:
    """As large as the limits let them be.

    Seen to fail: with `CHECKED` and `CACHED_OF_A_BYTE` at 2^30 the components took 79 MiB.
    """
    target, make = bombs.READ[name]
    memory, error = taken(target, make(), tmp_path / "bomb")
    assert not error and memory < BOUND


@pytest.mark.parametrize("name", residual_bombs.REFUSED)
def test_residual_refused(tmp_path: Path, name: str) -> None:
    """Seen to fail: without `_check_raw` a run of 2^26 zeros, without the bound by the file's size too
    many own components."""
    memory, error = taken("residual", residual_bombs.REFUSED[name](), tmp_path / "bomb")
    assert error and memory < BOUND


@pytest.mark.parametrize("name", residual_bombs.READ)
def test_residual_read(tmp_path: Path, name: str) -> None:
    """As large as the limits let them be; the largest runs take the most."""
    memory, error = taken("residual", residual_bombs.READ[name](), tmp_path / "bomb")
    assert not error and memory < BOUND


CONTAINERS = [name for name, (target, _) in bombs.REFUSED.items() if target == "container"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_reference_decoder_refuses_it_too(name: str) -> None:
    with pytest.raises(decoder.InvalidContainer):
        decoder.decode(bombs.REFUSED[name][1](), {})
