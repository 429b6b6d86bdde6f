"""As many tensors as a format holds, and one more: an error of the input's kind at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from registry.conftest import Weights, files_in, write_safetensors
from safetensors.numpy import load_file

from dsvd_registry import Registry
from dsvd_registry.container import limits
from dsvd_registry.errors import CheckpointError

MANY = 2_500


def small(number: int, length: int = 4) -> Weights:
    values = torch.randn(number, length, generator=torch.Generator().manual_seed(1))
    return {f"layers.{i}.weight": values[i] for i in range(number)}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        yield opened


def test_many_changed_tensors(registry: Registry, tmp_path: Path) -> None:
    """Each has a record, a base tensor and a part, in a file of a few MB."""
    base = small(MANY)
    changed = {name: tensor + 1e-2 for name, tensor in base.items()}
    changed["layers.7.weight"] = base["layers.7.weight"]
    registry.add_base("base", write_safetensors(base, tmp_path / "base.safetensors"), link=True)
    tuned = write_safetensors(changed, tmp_path / "tuned.safetensors")
    registry.add(tuned, base="base", max_error=0.01)
    report = registry.report("tuned")
    found = {row.kind: row.tensors for row in report.kinds if row.tensors}
    assert found == {"same": 1, "dense": MANY - 1}
    made = load_file(registry.materialize("tuned", tmp_path / "out.safetensors").path)
    wanted = load_file(tuned)
    off = sum(float(((made[name] - wanted[name]).astype(np.float64) ** 2).sum()) for name in wanted)
    assert off**0.5 <= 0.01 * (1e-4 * 4 * MANY) ** 0.5


def test_more_than_a_header_holds(registry: Registry, tmp_path: Path) -> None:
    """Seen to fail: everything was encoded, and then "a bug in dsvd: NotCanonical", exit 70."""
    base = {"layers.0.weight": torch.ones(1)}
    registry.add_base("base", write_safetensors(base, tmp_path / "base.safetensors"))
    over = small(limits.MAX_TENSORS + 1, 1)
    path = write_safetensors(over, tmp_path / "over.safetensors")
    before, told = files_in(registry.folder / "objects"), set()
    with pytest.raises(CheckpointError, match="more than 131072 tensors") as caught:
        registry.add(path, base="base", progress=lambda *said: told.add(said[0]))
    assert caught.value.exit_code == 5 and caught.value.hint
    assert told <= {"hashing"}
    assert (registry.versions(), files_in(registry.folder / "objects")) == ([], before)
