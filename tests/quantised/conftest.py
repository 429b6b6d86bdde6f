"""A registry with the trained base in fp16, made once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from trained_pair import one_thread, trained_pair

from dsvd_registry import Registry

Weights = dict[str, torch.Tensor]


def halves(weights: Weights) -> Weights:
    return {
        name: weight.half().contiguous() if weight.is_floating_point() else weight
        for name, weight in weights.items()
    }


@pytest.fixture(scope="session")
def base_weights() -> Weights:
    """Those of layers of 1,024 weights or more, and a few others: small tensors are mostly header."""
    base, _ = trained_pair()
    return halves(base)


@pytest.fixture(scope="session")
def tuned_weights() -> Weights:
    _, tuned = trained_pair()
    return halves(tuned)


@pytest.fixture(scope="module")
def registry(base_weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("quantised")
    save_file(base_weights, folder / "base.safetensors")
    with one_thread(), Registry.init(folder / "registry") as registry:
        registry.add_base("base", folder / "base.safetensors")
        yield registry


def saved(weights: Weights, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path
