"""The specification's reference decoder reads the container of a LoRA, and gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from spec.readers import decoder_gives
from spec.sealing import header_of

from .small import ATTENTION, base_weights, kohya, kohya_name, pairs, registry_of
from .training import save


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_gives_what_the_package_gives(dtype: torch.dtype, tmp_path: Path) -> None:
    """Both agree at the stored and at a lower tau, with a dense bias, and with a skipped tensor."""
    state = kohya(pairs())
    layer = kohya_name("unet", f"{ATTENTION}.attn1.to_q")
    state[f"{layer}.diff_b"] = torch.linspace(-0.1, 0.1, 16)
    state["lora_unet_unheard.of"] = torch.ones(3)
    with registry_of(tmp_path, base_weights(dtype)) as registry:
        file = save(state, tmp_path / "lora.safetensors")
        registry.add(file, base="sd15", skip_unsupported=True)
        registry.export_container("lora", tmp_path / "lora.dsvd")
        for tau in (1.0, 0.5):
            made = registry.materialize("lora", tmp_path / f"{tau}.safetensors", tau=tau)
            given = decoder_gives(tmp_path / "lora.dsvd", tmp_path / "base.safetensors", tau)
            assert given == made.path.read_bytes()
    header = header_of((tmp_path / "lora.dsvd").read_bytes())
    assert header["source"]["format"] == "lora"
    assert [entry["name"] for entry in header["left_out"]] == ["lora_unet_unheard.of"]
    assert {frame["content"] for frame in header["frames"]}.isdisjoint({"source_header"})
