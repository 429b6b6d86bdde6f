"""The layer that a LoRA file names: its sub-model, and its path in that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

UNETS = ("unet", "transformer")
ANY: tuple[str, ...] = ()

_T5 = ("text_encoder_3", "text_encoder_2")  # SD 3's third, FLUX's second

_KOHYA: dict[str, tuple[str, ...]] = {
    "lora_unet_": UNETS,
    "lora_transformer_": UNETS,
    "lora_te_": ("text_encoder",),
    "lora_te1_": ("text_encoder",),
    "lora_te2_": ("text_encoder_2",),
    "lora_te3_": _T5,
    "lycoris_": ANY,
}
_PEFT = "base_model.model."
_FOLDERS: dict[str, tuple[str, ...]] = {
    "unet.": UNETS,
    "transformer.": UNETS,
    "model.diffusion_model.": UNETS,
    "diffusion_model.": UNETS,  # ComfyUI's
    "text_encoder.": ("text_encoder",),
    "text_encoder_2.": ("text_encoder_2",),
    "text_encoder_3.": ("text_encoder_3",),
    "text_encoders.clip_l.transformer.": ("text_encoder",),  # ComfyUI's
    "text_encoders.clip_h.transformer.": ("text_encoder",),
    "text_encoders.clip_g.transformer.": ("text_encoder_2",),
    "text_encoders.t5xxl.transformer.": _T5,
}
# diffusers before PEFT named the layers after its attention processors.
_OLD_TEXT = re.compile(r"(self_attn\.)to_(q|k|v|out)$")
# XLabs names FLUX's layers after its own attention processors. In a double block the first is the
# image's and the second the text's; in a single block it covers some of the rows of `linear1`.
_XLABS = re.compile(
    r"(double_blocks\.\d+\.|single_blocks\.\d+\.)processor\.((?:qkv|proj)_lora[12]|qkv|proj)$"
)
_XLABS_WORDS = {
    "qkv_lora1": "img_attn.qkv",
    "qkv_lora2": "txt_attn.qkv",
    "proj_lora1": "img_attn.proj",
    "proj_lora2": "txt_attn.proj",
    "qkv": "linear1_qkv",
    "proj": "linear2",
}


@dataclass(frozen=True)
class LayerName:
    """A layer of a LoRA file.

    `models`: the sub-models that may have it, one of which does; `ANY` if the file does not name one.
    `path`: its path in the sub-model. `flat`: the path has underscores for its dots.
    """

    models: tuple[str, ...]
    path: str
    flat: bool


def parse_layer(spelled: str) -> LayerName:
    """Parse the name of a layer as a LoRA file spells it."""
    if "." not in spelled:
        for prefix, models in _KOHYA.items():
            if spelled.startswith(prefix):
                # Wan's "Fun" LoRAs have a second underscore after the prefix.
                path = spelled.removeprefix(prefix).lstrip("_")
                return LayerName(models, path, flat=True)
    path = spelled.removeprefix(_PEFT)
    models = ANY
    for prefix, named in _FOLDERS.items():
        if path.startswith(prefix):
            models, path = named, path.removeprefix(prefix)
            break
    path = path.removeprefix(_PEFT)
    path = _XLABS.sub(lambda match: match[1] + _XLABS_WORDS.get(match[2], match[2]), path)
    path = path.replace(".processor.", ".")
    path = _OLD_TEXT.sub(lambda match: f"{match[1]}{match[2]}_proj", path)
    if path.endswith(".to_out"):
        path += ".0"
    return LayerName(models, path, flat=False)


def keeps_alphas_apart(names: Iterable[str]) -> bool:
    """Return whether PEFT wrote a file of these names: it keeps the alphas in another file."""
    known = list(names)
    return any(_PEFT in name for name in known) and not any(n.endswith(".alpha") for n in known)
