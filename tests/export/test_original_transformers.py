"""LoRAs of transformers whose files have the original words: diffusers' own loader takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts.original import State
from layouts.pipelines import randomised
from layouts.transformers import original_flux, original_sd3
from safetensors.torch import save_file

from dsvd_registry import Registry

from .conftest import TAU, Subject, changed
from .effect import check, distance, whole
from .transformers import TRANSFORMERS

ORIGINAL = {"flux": original_flux, "sd3": original_sd3}


def cloned(state: State) -> State:
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


@pytest.mark.parametrize("family", ORIGINAL)
def test_loaded_by_diffusers(family: str, file: Path, tmp_path: Path) -> None:
    """Fused projections are divided, and the shift and the scale of the last norm are swapped."""
    original, pipeline = ORIGINAL[family], randomised(TRANSFORMERS[family]())
    base = cloned(original(pipeline.transformer.state_dict()))
    save_file(base, tmp_path / "base.safetensors")
    tuned = original(changed(pipeline).transformer.state_dict())
    save_file(cloned(tuned), tmp_path / "subject.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base.safetensors")
        registry.add(tmp_path / "subject.safetensors", base="base", tau=TAU)
        with registry.tensors("subject") as tensors:
            version = {name: tensors[name].clone() for name in tensors}
        lora = registry.export_lora("subject", file, format="peft")
        subject = Subject(family, "original", registry, base, version, tmp_path, pipeline)
        loaded = subject.pipeline()
        loaded.load_lora_weights(str(file.parent), weight_name=file.name)
        loaded.fuse_lora(components=["transformer"])
        loaded.unload_lora_weights()
        found = cloned(original(loaded.transformer.state_dict()))
        check(subject, found, lora)
        assert lora.error == pytest.approx(distance(version, found) / whole(subject), rel=1e-3)
    matrices = [one.name for one in lora.left_out if version[one.name].ndim > 1]
    assert not [name for name in matrices if "pos_embed" not in name]
