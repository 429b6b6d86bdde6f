"""Versions with quantised weights in other registries, where the residual alone has their change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trained_pair import one_thread

from dsvd_registry import Registry

from .conftest import Weights, halves, saved
from .quantisers import fp8, nf4, quantised

LAYERS = {"fp8": fp8(torch.float8_e4m3fn, "scale_weight"), "nf4": nf4(nested=True)}


def weights(seed: int) -> Weights:
    random = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (64, 96), "b.weight": (96, 64), "b.bias": (96,)}
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


@pytest.fixture(params=LAYERS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of a fine-tune, which is `one@1` of the registry beside it, over the base `base`."""
    base, change = weights(0), weights(1)
    tuned = halves({name: base[name] + 0.05 * change[name] for name in base})
    file = saved(quantised(tuned, LAYERS[request.param]), tmp_path / "one.safetensors")
    with one_thread(), Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", saved(halves(base), tmp_path / "base.safetensors"))
        registry.add(file, name="one", base="base", lossless=True)
        assert sum(registry.report("one@1").schemes.values()) == 2
    return file


def gives_the_source(registry: Registry, source: Path) -> None:
    out = registry.materialize("one@1", registry.folder.parent / f"{registry.folder.name}.out")
    assert out.path.read_bytes() == source.read_bytes()
    assert registry.verify(deep=True).is_well


def test_every_way_to_another_registry(source: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported" / "one.dsvd"
    exported.parent.mkdir()
    with one_thread(), Registry.open(tmp_path / "registry") as registry:
        Registry.init(tmp_path / "pushed").close()
        registry.add_remote("pushed", tmp_path / "pushed")
        registry.push("pushed")
        assert registry.export_container("one@1", exported).residual is not None
    with one_thread(), Registry.open(tmp_path / "pushed") as registry:
        gives_the_source(registry, source)
    with one_thread(), Registry.clone(tmp_path / "registry", tmp_path / "cloned") as registry:
        gives_the_source(registry, source)
    with one_thread(), Registry.init(tmp_path / "imported") as registry:
        registry.add_base("base", tmp_path / "base.safetensors")
        assert registry.import_container(exported, name="one").ref == "one@1"
        gives_the_source(registry, source)
