"""A lossless version is the same with compiled kernels as with numpy's, and comes back by either."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.residual import compiled

from .rawfiles import RawTensor, write_raw

NEVER, ALWAYS = 1 << 62, 0  # elements from which compiled kernels are taken


def _tensor(dtype: str, values: np.ndarray) -> RawTensor:
    single = values.astype(np.float32)
    if dtype == "BF16":
        words = (single.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    else:
        words = single.astype({"F32": np.float32, "F16": np.float16}[dtype]).tobytes()
    return RawTensor(dtype, values.shape, words)


def test_same_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The residuals are one object, and each is read by both kernels."""
    random = np.random.default_rng(11)
    base, tuned = {}, {}
    for dtype in ("F32", "F16", "BF16"):
        for name, shape in (("matrix", (90, 300)), ("vector", (5000,))):
            values = 0.03 * random.standard_normal(shape)
            base[f"{dtype}.{name}"] = _tensor(dtype, values)
            low = 0.001 * random.standard_normal(shape[-1])
            if len(shape) == 2:
                low = np.outer(random.standard_normal(shape[0]), low)
            noise = 0.0001 * random.standard_normal(shape)
            tuned[f"{dtype}.{name}"] = _tensor(dtype, values + low + noise)
    base_file = write_raw(base, tmp_path / "base.safetensors")
    source = write_raw(tuned, tmp_path / "tuned.safetensors")
    found = []
    for least in (NEVER, ALWAYS):
        monkeypatch.setattr(compiled, "LEAST_ELEMENTS", least)
        monkeypatch.setattr(compiled, "_made", {})
        with one_thread(), Registry.init(tmp_path / f"registry {least}") as registry:
            registry.add_base("base", base_file)
            added = registry.add(source, base="base", name="tuned", lossless=True)
            for other in (NEVER, ALWAYS):
                monkeypatch.setattr(compiled, "LEAST_ELEMENTS", other)
                made = registry.materialize("tuned", tmp_path / f"{least} {other}.safetensors")
                assert made.path.read_bytes() == source.read_bytes()
        assert sorted(compiled._made) == ["BF16", "F16", "F32"]
        assert added.version.residual is not None
        found.append(added.version.residual.sha256)
    assert found[0] == found[1]
