"""LoRA versions in merges: with each other, with a full fine-tune, and in another layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from registry.merging import check_sum
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

from .small import base_weights, exact, kohya, pairs, registry_of, weights
from .training import Trained


def test_loras_add_up(tmp_path: Path) -> None:
    base, one, two = base_weights(), pairs(scale=0.5), pairs(scale=-2.0)
    with registry_of(tmp_path, base) as registry:
        for name, layers in (("one", one), ("two", two)):
            save_file(kohya(layers), tmp_path / f"{name}.safetensors")
            registry.add(tmp_path / f"{name}.safetensors", base="sd15", name=name)
        registry.merge([("one", 0.75), ("two", 0.5)], name="both")
        made = weights(registry, "both")
        # From the LoRA files themselves, in float64.
        sums = {
            name: tensor
            + 0.75 * (exact(base, one)[name] - tensor)
            + 0.5 * (exact(base, two)[name] - tensor)
            for name, tensor in ((name, t.double()) for name, t in base.items())
        }
        for name, total in sums.items():
            off = (made[name].double() - total).norm()
            change = (total - base[name].double()).norm()
            assert off <= 2e-5 * change + 2.0**-24 * total.norm(), name
        # Both LoRAs have the same factors but for their scale: the ranks do not add up.
        ranks = {row.name: row.rank for row in registry.report("both").tensors if row.rank}
        assert ranks == {f"{model}.{path}.weight": pair.rank for (model, path), pair in one.items()}


def test_a_lora_and_a_fine_tune(tmp_path: Path) -> None:
    base = base_weights()
    numbers = torch.Generator().manual_seed(5)
    tuned = {
        name: tensor + 0.01 * torch.randn(tensor.shape, generator=numbers)
        for name, tensor in base.items()
    }
    with registry_of(tmp_path, base) as registry:
        save_file(kohya(pairs()), tmp_path / "lora.safetensors")
        save_file(tuned, tmp_path / "tuned.safetensors")
        registry.add(tmp_path / "lora.safetensors", base="sd15", name="lora")
        registry.add(tmp_path / "tuned.safetensors", base="sd15", name="tuned", tau=1.0)
        registry.merge([("tuned", 0.5), ("lora", 0.5)], name="both")
        made, of_tuned, of_lora = (weights(registry, ref) for ref in ("both", "tuned", "lora"))
        for name, tensor in made.items():
            check_sum(tensor, base[name], [(0.5, of_tuned[name]), (0.5, of_lora[name])], name)


def test_another_layout(
    lora_of: Callable[[str], Trained], registry: Registry, tmp_path: Path
) -> None:
    trained = lora_of("sd1")
    registry.add_base("base", trained.base.files["diffusers"])
    registry.add(trained.file, base="base", name="lora")
    for layout, merged in trained.merged.items():
        save_file(merged, tmp_path / f"{layout}.safetensors")
        registry.add(tmp_path / f"{layout}.safetensors", base="base", name=layout, tau=1.0)
    with pytest.raises(
        InvalidArgument, match="original@1 is in another layout than lora@1"
    ) as raised:
        registry.merge([("lora", 0.5), ("original", 0.5)], name="both")
    assert "--layout" in raised.value.hint
    # Halves of one change are the change, whoever wrote it.
    registry.merge([("lora", 0.5), ("diffusers", 0.5)], name="both")
    base, made = load_file(trained.base.files["diffusers"]), weights(registry, "both")
    halves = [(0.5, weights(registry, ref)) for ref in ("lora", "diffusers")]
    for name, tensor in made.items():
        check_sum(tensor, base[name], [(weight, file[name]) for weight, file in halves], name)
    lora = registry.export_lora("both", tmp_path / "out.safetensors", format="kohya")
    assert lora.ranks
