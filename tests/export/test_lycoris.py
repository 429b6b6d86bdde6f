"""Files loaded by the `lycoris-lora` package, as kohya's scripts and its own wrapper do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from layouts.original import State, original_unet
from lora.pipelines import LAYERS
from lycoris.kohya import LycorisNetworkKohya, create_network_from_weights
from safetensors.torch import load_file
from torch import nn

from .conftest import Subject
from .effect import check


@pytest.fixture(autouse=True)
def _time_embedding_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work around an error of lycoris-lora 4.1.3, which also occurs with its own files.

    It finds a diffusers U-Net's time embedding twice, by its class and by its name, and stops
    (`duplicated lora name`). The name is left out here, as a preset may do.
    """
    monkeypatch.setattr(LycorisNetworkKohya, "UNET_TARGET_REPLACE_NAME", ["conv_in", "conv_out"])


class Older(nn.Module):
    """A CLIP with the module names of transformers before 5.6, on which kohya's are based."""

    def __init__(self, text_model: nn.Module) -> None:
        super().__init__()
        self.text_model = text_model


def test_sd1_with_its_text_encoder(subject_of, file: Path) -> None:
    subject = subject_of("sd1")
    lora = subject.registry.export_lora("subject", file, format="kohya")
    pipeline = subject.pipeline()
    encoder = Older(pipeline.text_encoder)
    network, _ = create_network_from_weights(1.0, str(file), None, encoder, pipeline.unet)
    modules = network.unet_loras + network.text_encoder_loras
    assert {module.lora_name for module in modules} == {module.name for module in lora.modules}
    shapes = {tuple(module.lora_down.weight.shape[2:]) for module in modules}
    assert shapes == {(), (1, 1), (3, 3)}
    for module in modules:
        module.merge_to(1.0)
    check(subject, subject.named(pipeline), lora)


def test_sdxl_in_the_original_names(subject_of, file: Path) -> None:
    """kohya trains SDXL on the original U-Net, whose layers have other names."""
    subject: Subject = subject_of("sdxl")
    lora = subject.registry.export_lora("subject", file, format="kohya")
    pipeline = subject.pipeline()
    unet = renamed(pipeline.unet)
    network, _ = create_network_from_weights(1.0, str(file), None, None, unet)
    wanted = {module.name for module in lora.modules if module.name.startswith("lora_unet_")}
    assert {module.lora_name for module in network.unet_loras} == wanted
    assert len(wanted) > 100
    for module in network.unet_loras:
        module.merge_to(1.0)
    check(subject, subject.named(pipeline), lora, ["model.diffusion_model."])


def renamed(unet: nn.Module) -> nn.Module:
    """The same modules in a tree with the original names."""
    names: State = {
        f"{name}.weight": torch.empty(0) for name, m in unet.named_modules() if is_layer(m)
    }
    for number, name in enumerate(names):
        names[name] = torch.tensor(number)
    layers = [module for _, module in unet.named_modules() if is_layer(module)]
    root = nn.Module()
    for name, number in original_unet(names, LAYERS).items():
        *folders, last = name.removesuffix(".weight").split(".")
        place = root
        for folder in folders:
            if not hasattr(place, folder):
                place.add_module(folder, nn.Module())
            place = getattr(place, folder)
        place.add_module(last, layers[int(number)])
    return root


def is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d)


def test_every_module_has_its_alpha(subject_of, file: Path) -> None:
    lora = subject_of("sdxl").registry.export_lora("subject", file, format="kohya")
    tensors = load_file(file)
    for module in lora.modules:
        alpha, down = (tensors[f"{module.name}.{end}"] for end in ("alpha", "lora_down.weight"))
        up = tensors[f"{module.name}.lora_up.weight"]
        assert alpha.shape == ()
        assert (float(alpha), len(down), up.shape[1]) == (module.alpha, module.rank, module.rank)
        assert up.shape[2:] == (() if down.ndim == 2 else (1, 1))
    assert len(tensors) == 3 * len(lora.modules)
