"""The LoRA files that tools write, from the layers of a trained one.

kohya's keys are those of sd-scripts' `networks/lora.py` (prefix, module path with underscores,
`lora_up`, `lora_down`, `alpha`), with the original names for SDXL's U-Net.
"""

from __future__ import annotations

import torch
from layouts.original import State, original_unet

from .pipelines import LAYERS
from .training import Trained

KOHYA_PREFIX = {
    "unet": "lora_unet_",
    "text_encoder": "lora_te1_",
    "text_encoder_2": "lora_te2_",
}


def kohya(trained: Trained, *, original_words: bool = False, alpha: float | None = None) -> State:
    """The file of kohya.

    `original_words`: the U-Net's layers have their original names. `alpha`: of all layers, instead
    of their own.
    """
    found: State = {}
    for model, state in trained.layers.items():
        prefix = KOHYA_PREFIX[model]
        if "text_encoder_2" not in trained.layers:
            prefix = prefix.replace("te1", "te")
        for name in state:
            layer, end = name.split(".lora_")
            if end == "A.weight":
                spelled = prefix + _kohya_path(model, layer, original_words).replace(".", "_")
                down, up = state[name], state[f"{layer}.lora_B.weight"]
                found[f"{spelled}.lora_down.weight"] = down
                found[f"{spelled}.lora_up.weight"] = up
                own = trained.scale(model, layer) * down.shape[0]
                found[f"{spelled}.alpha"] = torch.tensor(own if alpha is None else alpha)
    return found


def _kohya_path(model: str, layer: str, original_words: bool) -> str:
    if model != "unet":
        return layer if layer.startswith("text_model.") else f"text_model.{layer}"
    if not original_words:
        return layer
    # A level that attends is told by its attentions: they are named, though they may not change.
    attends = {f"up_blocks.{level}.attentions.0.norm.weight": 0 for level in (0,)}
    (name, *_) = original_unet({f"{layer}.weight": 0, **attends}, LAYERS)
    return name.removesuffix(".weight")
