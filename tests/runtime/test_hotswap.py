"""`hotswap` of diffusers: exports of one rank take each other's place, in compiled blocks too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from layouts.original import State
from torch._dynamo.testing import CompileCounterWithBackend

from dsvd_registry.errors import InvalidArgument

from .studio import Studio, outputs_of

RANK = 32  # the full rank of the largest layer, and above that of all others: nothing is cut


def test_subjects_of_one_rank_are_swapped(sd1: Studio, tmp_path: Path) -> None:
    """`one` changes all of the U-Net and the text encoder, `other` some attention of the U-Net."""
    files, expected, singly = {}, {}, {}
    for ref in ("one", "other"):
        files[ref] = tmp_path / f"{ref}.safetensors"
        sd1.registry.export_lora(ref, files[ref], format="peft", rank_limit=RANK, dtype="fp32")
        alone = sd1.pipeline()
        load(alone.unet, files[ref])
        made = sd1.materialized(ref, torch.float32, tmp_path / ref)
        expected[ref] = made.unet.state_dict()
        assert_effective(alone.unet, expected[ref])
        singly[ref] = outputs_of(alone)["unet"]
    assert not torch.allclose(singly["one"], singly["other"], rtol=1e-3, atol=1e-4)

    pipeline = sd1.pipeline()
    pipeline.enable_lora_hotswap(target_rank=RANK)
    pipeline.load_lora_weights(str(files["other"]), adapter_name="subject")
    unet, counter = pipeline.unet, CompileCounterWithBackend("aot_eager")
    for block in (unet.down_blocks[0], unet.mid_block):  # all of them would take a minute
        block.compile(backend=counter)
    torch.testing.assert_close(outputs_of(pipeline)["unet"], singly["other"])
    graphs = counter.frame_count
    assert graphs > 0
    load(unet, files["one"], hotswap=True)
    torch.testing.assert_close(outputs_of(pipeline)["unet"], singly["one"])
    assert_effective(unet, expected["one"])
    pipeline.load_lora_weights(str(files["other"]), adapter_name="subject", hotswap=True)
    torch.testing.assert_close(outputs_of(pipeline)["unet"], singly["other"])
    assert_effective(unet, expected["other"])
    assert counter.frame_count == graphs

    with pytest.raises(InvalidArgument, match="33 is above 32, the full rank"):
        sd1.registry.export_lora("one", tmp_path / "x", format="peft", rank_limit=RANK + 1)


def load(unet: UNet2DConditionModel, file: Path, **asked: bool) -> None:
    unet.load_lora_adapter(str(file), prefix="unet", adapter_name="subject", **asked)


def assert_effective(unet: UNet2DConditionModel, expected: State) -> None:
    """Check each weight with its adapter against the materialised version's."""
    adapted = {
        name.removesuffix(".base_layer.weight"): parameter.detach().double().numpy()
        for name, parameter in unet.named_parameters()
        if name.endswith(".base_layer.weight")
    }
    matrices = {name for name, tensor in expected.items() if tensor.ndim > 1}
    assert {f"{path}.weight" for path in adapted} == matrices
    for path, weight in adapted.items():
        layer = unet.get_submodule(path)
        up, down = (
            side["subject"].weight.detach().double().numpy()
            for side in (layer.lora_B, layer.lora_A)
        )
        assert down.shape[0] == up.shape[1] == RANK
        product = (up.reshape(len(up), RANK) @ down.reshape(RANK, -1)).reshape(weight.shape)
        found = weight + float(layer.scaling["subject"]) * product
        np.testing.assert_allclose(found, expected[f"{path}.weight"].numpy(), rtol=1e-5, atol=1e-7)
