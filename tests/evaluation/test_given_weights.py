"""Extractors whose weights are given by path: the real classes, with random weights.

The real weights cannot be had here. What is tested is what lies between a picture and its features:
preparation, the layer that is taken, the projection, the tokenizer, LPIPS's slices.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_pipeline import tokenizer
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from dsvd_registry.errors import CheckpointError, InvalidArgument
from dsvd_registry.evaluation.extractors.judges import loaded_judges
from dsvd_registry.evaluation.extractors.transformers_model import loaded_extractor
from dsvd_registry.evaluation.features import distance
from dsvd_registry.hashing import sha256_file

from .photographs import photographs

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 48,
    "patch_size": 16,
}
WIDE = np.ascontiguousarray(np.concatenate(photographs()["dog6"][:2], axis=1)[:50])


def unit(values: torch.Tensor) -> np.ndarray:
    return at_length_1(values.detach()[0].double().numpy())


def at_length_1(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def saved(folder, model, processor):
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_clip(tmp_path) -> None:
    words = tokenizer()
    text = {key: value for key, value in SMALL.items() if key not in ("image_size", "patch_size")}
    ids = {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id}
    config = CLIPConfig(
        text_config=text | ids | {"vocab_size": len(words), "max_position_embeddings": 24},
        vision_config=SMALL,
        projection_dim=24,
    )
    model = CLIPModel(config)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size=48)
    folder = saved(tmp_path / "clip", model, processor)
    words.save_pretrained(folder)
    judges = loaded_judges({"clip": folder}, "cpu")
    judge = next(one for one in judges.loaded if one.extractor.name == "clip")
    assert judge.extractor.weights == sha256_file(folder / "model.safetensors")
    assert judge.texts is not None
    for picture in (photographs()["dog6"][0], WIDE):
        pixels = processor(Image.fromarray(picture), return_tensors="pt").pixel_values
        ids = words(["a photo of a dog"], return_tensors="pt")
        found = model(pixel_values=pixels, **ids)
        ours = at_length_1(judge.extractor.features(picture).vector)
        assert np.abs(ours - unit(found.image_embeds)).max() < 1e-5
        plain = at_length_1(judge.texts.text("a photo of a dog"))
        assert np.abs(plain - unit(found.text_embeds)).max() < 1e-5
    assert np.abs(at_length_1(judge.texts.text("a photo of a cat")) - plain).max() > 1e-3
    assert "clip" not in judges.missing
    assert judges.missing["dino"] == "no --weights dino=PATH was given"


def test_dino_and_dinov2(tmp_path) -> None:
    dino = ViTModel(ViTConfig(**SMALL), add_pooling_layer=False)
    at_once = ViTImageProcessorPil(size={"height": 48, "width": 48})
    dinov2 = Dinov2Model(Dinov2Config(**SMALL | {"patch_size": 8}))
    # As DINOv2 is published: larger at first, then cut.
    cut = {"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}
    for name, model, processor in (
        ("dino", dino, at_once),
        ("dinov2", dinov2, CLIPImageProcessorPil(**cut)),
    ):
        folder = saved(tmp_path / name, model, processor)
        pixels = processor(Image.fromarray(WIDE), return_tensors="pt").pixel_values
        expected = unit(model(pixel_values=pixels).last_hidden_state[:, 0])
        found = at_length_1(loaded_extractor(name, folder, "cpu").features(WIDE).vector)
        assert np.abs(found - expected).max() < 1e-5


def alexnet() -> nn.Sequential:
    """The convolutions of AlexNet, numbered as torchvision numbers them."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def vgg() -> nn.Sequential:
    """The convolutions of VGG-16, numbered as in torchvision, with an eighth of the channels."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (8, 8, 0, 16, 16, 0, 32, 32, 32, 0, 64, 64, 64, 0, 64, 64, 64):
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("network", "ends"),
    [(alexnet, (2, 5, 8, 10, 12)), (vgg, (4, 9, 16, 23, 30))],
    ids=["alex", "vgg"],
)
def test_lpips(network, ends, tmp_path) -> None:
    torch.manual_seed(1)
    layers = network()
    state, linear, begin = {}, [], 0
    for number, end in enumerate(ends):
        for place in range(begin, end):
            for part, value in layers[place].state_dict().items():
                state[f"net.slice{number + 1}.{place}.{part}"] = value
        width = next(m.out_channels for m in layers[end - 1 :: -1] if isinstance(m, nn.Conv2d))
        linear.append(torch.rand(1, width, 1, 1))
        state[f"lin{number}.model.1.weight"] = linear[-1]
        begin = end
    file = tmp_path / "lpips.pth"
    torch.save(state, file)
    left, right = photographs()["dog6"][:2]

    def slices(picture) -> list[torch.Tensor]:
        shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450]).reshape(3, 1, 1)
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1) / 127.5 - 1
        values, found = ((pixels - shift) / scale)[None], []
        for number, layer in enumerate(layers):
            values = layer(values)
            if number + 1 in ends:
                found.append(values / (values.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    expected = sum(
        (weight * (a - b).square()).sum(1).mean().item()
        for weight, a, b in zip(linear, slices(left), slices(right), strict=True)
    )
    judges = loaded_judges({"lpips": file}, "cpu")
    (extractor,) = (one.extractor for one in judges.loaded if one.extractor.name == "lpips")
    found = [extractor.features(picture) for picture in (left, right, left)]
    assert distance(found[0], found[1]) == pytest.approx(expected, rel=1e-4)
    assert distance(found[0], found[2]) == 0
    del state["lin2.model.1.weight"]
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="it lacks 'lin2"):
        loaded_judges({"lpips": file}, "cpu")


def test_refusals(tmp_path) -> None:
    with pytest.raises(InvalidArgument, match="no weights at"):
        loaded_judges({"clip": tmp_path / "none"}, "cpu")
    model = ViTModel(ViTConfig(**SMALL), add_pooling_layer=False)
    folder = saved(tmp_path / "dino", model, ViTImageProcessorPil())
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 48, "image_mean": "?"}))
    with pytest.raises(InvalidArgument, match="how pictures are prepared"):
        loaded_extractor("dino", folder, "cpu")
    # Weights that would have to be executed are not.
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(InvalidArgument, match="cannot load"):
        loaded_extractor("dino", folder, "cpu")
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InvalidArgument, match="'gpt2'"):
        loaded_extractor("dino", folder, "cpu")
    wrong = tmp_path / "wrong.safetensors"
    save_file({"a": torch.zeros(1)}, wrong)
    with pytest.raises(CheckpointError, match="neither LPIPS nor Inception"):
        loaded_judges({"lpips": wrong}, "cpu")
