"""What `add --lossless` stores of a really trained pair, read by the decoder beside the spec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from trained_pair import one_thread, trained_pair

from dsvd_registry import Registry

from .residual_building import residual_header_of
from .residual_readers import decoder_gives_source

NAMES = 6  # of the largest tensors: small ones get no components of their own


def object_at(root: Path, digest: str) -> Path:
    return root / "objects" / digest[:2] / digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tau", [None, 0.02])
def test_decoder_gives_the_source(dtype: torch.dtype, tau: float | None, tmp_path: Path) -> None:
    """Ranks for the least in all, and components on top of those that a tau asks for."""
    held, tuned = trained_pair()
    names = sorted(held, key=lambda name: held[name].numel())[-NAMES:]
    base, file = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    save_file({name: held[name] for name in names}, base)
    weights = {name: tuned[name].to(dtype) for name in names}
    weights[names[0]].view(-1)[:2] = torch.tensor([-0.0, 0.0])
    save_file(weights, file, {"format": "pt", "modelspec.hash_sha256": "0x1"})
    with one_thread(), Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", base)
        version = registry.add(file, base="base", tau=tau, lossless=True).version
        assert version.residual is not None
        container = object_at(registry.folder, version.container)
        residual = object_at(registry.folder, version.residual.sha256)
        assert decoder_gives_source(container, base, residual) == file.read_bytes()
        tensors = residual_header_of(residual.read_bytes())["tensors"]
        assert len(tensors) > NAMES // 2
        lower = tau is not None and dtype != torch.float32  # there so few do not pay
        assert any(tensor["rank"] for tensor in tensors) == lower
