"""Rules by which ComfyUI loads a LoRA file, for every family; `tests/comfyui` runs a real one.

They come from its `comfy/lora.py` (`model_lora_keys_unet`, `model_lora_keys_clip`, `load_lora`) and
`comfy/weight_adapter/lora.py` at commit 17358c8. ComfyUI keeps a U-Net under
its original names after `diffusion_model.`, and a CLIP under those of transformers after
`clip_l.transformer.`, `clip_g.` or `clip_h.`:

1. A U-Net's weight `diffusion_model.A.B.weight` is `lora_unet_A_B`.
2. A text encoder's weight `clip_l.transformer.A.B.weight` is `text_encoders.clip_l.transformer.A.B`.
3. A linear layer of the encoder's is, with underscores for dots, also `lora_te_...` and `lora_te1_...`
   of clip_l and clip_h, `lora_te2_...` of clip_g where there is a clip_l, else `lora_te_...`.
4. X.lora_up.weight and X.lora_down.weight, flattened after the first dimension and multiplied, are
   added to X times X.alpha / rank; X.diff is added as it is.
5. X.diff_b is added to the bias beside X.
6. Any other key is logged as not loaded.
"""

from __future__ import annotations

import torch
from layouts.original import State

ENCODER = "text_model.encoder.layers."
LINEAR = (*(f"self_attn.{one}_proj" for one in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
SIDES = ("lora_up.weight", "lora_down.weight", "alpha")


def known_names(model: State) -> dict[str, str]:
    """Rules 1 to 3: each weight of a model, by the names that a file may use."""
    weights = [name.removesuffix(".weight") for name in model if name.endswith(".weight")]
    first = any(name.startswith("clip_l.") for name in weights)
    found = {}
    for name in weights:
        clip, _, path = name.partition(".transformer.")
        if not path:
            found["lora_unet_" + name.removeprefix("diffusion_model.").replace(".", "_")] = name
            continue
        found[f"text_encoders.{name}"] = name
        if path.startswith(ENCODER) and path.endswith(LINEAR):
            prefixes = ("lora_te_", "lora_te1_")
            if clip == "clip_g":
                prefixes = ("lora_te2_",) if first else ("lora_te_",)
            found |= {prefix + path.replace(".", "_"): name for prefix in prefixes}
    return found


def patched(model: State, file: State) -> tuple[State, set[str]]:
    """Rules 4 to 6: the model with a merged file, in float64, and the keys that were not loaded."""
    left = set(file)
    result = {name: tensor.double() for name, tensor in model.items()}
    for called, name in known_names(model).items():
        if f"{called}.lora_up.weight" in file:
            up, down, alpha = (file[f"{called}.{end}"].double() for end in SIDES)
            product = torch.mm(up.flatten(1), down.flatten(1)) * (alpha / len(down))
            result[f"{name}.weight"] += product.reshape(model[f"{name}.weight"].shape)
            left -= {f"{called}.{end}" for end in SIDES}
        for end, parameter in (("diff", "weight"), ("diff_b", "bias")):
            if f"{called}.{end}" in file:
                result[f"{name}.{parameter}"] += file[f"{called}.{end}"].double()
                left -= {f"{called}.{end}"}
    return result, left
