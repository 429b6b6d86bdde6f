"""A trained LoRA is added as a file and exported as one: every module has the same change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts.original import State
from lora.files import kohya
from lora.training import Trained, made_base, save, trained_lora
from safetensors import safe_open
from safetensors.torch import load_file
from trained_pair import one_thread

from dsvd_registry import Registry

CLOSE = 1e-5
FORMS = ("kohya", "peft")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A trained LoRA of SD 1: text encoder and convolutions too, with mixed ranks and alphas."""
    folder = tmp_path_factory.mktemp("trained")
    with one_thread():
        return trained_lora(made_base("sd1", folder), folder)


@pytest.fixture(scope="module", params=FORMS)
def registry(
    request: pytest.FixtureRequest, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Registry:
    """A registry with the version `lora`, added from a file of kohya and from one of diffusers."""
    folder = tmp_path_factory.mktemp(request.param)
    file, layout = trained.file, "original"
    if request.param == "kohya":
        file, layout = save(kohya(trained), folder / "lora.safetensors"), "diffusers"
    registry = Registry.init(folder / "registry")
    registry.add_base("base", trained.base.files[layout])
    registry.add(file, base="base", name="lora")
    return registry


def trained_products(trained: Trained) -> tuple[State, dict[str, int]]:
    """The change of each layer's weight and its rank, by kohya's name."""
    products, ranks = {}, {}
    for model, state in trained.layers.items():
        for name in state:
            layer, end = name.split(".lora_")
            if end == "A.weight":
                down, up = state[name], state[f"{layer}.lora_B.weight"]
                called = spelled(f"{model}.{layer}")
                products[called] = trained.scale(model, layer) * product_of(up, down)
                ranks[called] = len(down)
    return products, ranks


def spelled(layer: str) -> str:
    """Spell `unet.conv_in` as `lora_unet_conv_in`; a name in that form stays as it is."""
    if layer.startswith("lora_"):
        return layer
    words = {"unet.": "lora_unet_", "text_encoder.": "lora_te_text_model_"}
    for folder, prefix in words.items():
        if layer.startswith(folder):
            path = layer.removeprefix(folder).removeprefix("text_model.")
            return prefix + path.replace(".", "_")
    raise AssertionError(layer)


def product_of(up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    return up.double().flatten(1) @ down.double().flatten(1)


def products_of_kohya(file: Path) -> State:
    tensors = load_file(file)
    found = {}
    for name in (key.removesuffix(".alpha") for key in tensors if key.endswith(".alpha")):
        up, down = (tensors[f"{name}.lora_{side}.weight"] for side in ("up", "down"))
        scale = float(tensors[f"{name}.alpha"]) / len(down)
        found[name] = scale * product_of(up, down)
    return found


def products_of_peft(file: Path) -> State:
    with safe_open(file, "pt") as opened:
        fields = json.loads(opened.metadata()["lora_adapter_metadata"])
    for model in ("unet", "text_encoder"):  # so that no module is scaled
        assert fields[f"{model}.r"] == fields[f"{model}.lora_alpha"]
        assert fields[f"{model}.rank_pattern"] == fields[f"{model}.alpha_pattern"]
    tensors = load_file(file)
    ends = (".lora_A.weight", ".lora_B.weight")
    layers = [name.removesuffix(ends[0]) for name in tensors if name.endswith(ends[0])]
    return {
        spelled(layer): product_of(tensors[layer + ends[1]], tensors[layer + ends[0]])
        for layer in layers
    }


READERS: dict[str, Callable[[Path], State]] = {
    "kohya": products_of_kohya,
    "peft": products_of_peft,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_product_agrees(trained: Trained, registry: Registry, form: str, file: Path) -> None:
    lora = registry.export_lora("lora", file, format=form, dtype="fp32")
    (wanted, ranks), found = trained_products(trained), READERS[form](file)
    assert found.keys() == wanted.keys()
    assert {spelled(module.name): module.rank for module in lora.modules} == ranks
    assert len({module.rank for module in lora.modules}) > 2
    assert {tuple(t.shape[2:]) for t in load_file(file).values()} >= {(), (1, 1), (3, 3)}
    for name, product in wanted.items():
        assert (found[name] - product).norm() <= CLOSE * product.norm(), name
    assert lora.left_out == ()
    assert lora.error < CLOSE


def test_a_file_of_ours_comes_in_again(subject_of, tmp_path: Path) -> None:
    """FLUX has a `proj_out` outside its blocks and in each, with different ranks and alphas."""
    subject = subject_of("flux")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    lora = subject.registry.export_lora("subject", first, format="peft", dtype="fp32")
    subject.registry.add(first, base="base", name="again")
    again = subject.registry.export_lora("again", second, format="peft", dtype="fp32")
    names = {module.name: module.rank for module in lora.modules}
    assert {module.name: module.rank for module in again.modules} == names
    one, other = load_file(first), load_file(second)
    for name in names:
        products = [
            product_of(file[f"{name}.lora_B.weight"], file[f"{name}.lora_A.weight"])
            for file in (one, other)
        ]
        assert (products[1] - products[0]).norm() <= CLOSE * products[0].norm(), name
