"""ComfyUI's format: kohya's names for pairs, and `.diff` and `.diff_b` for whole deltas.

The names are those that ComfyUI's `comfy/lora.py` maps. For the U-Net of every family they are the
original ones, under which ComfyUI has every weight. For text encoders they are kohya's for the linear
layers of the encoder, and ComfyUI's own, `text_encoders.clip_l.transformer...`, for the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..layouts.families import Family
from ..layouts.original_unet import original_unet_names
from .formats import LoraFormat, Tensors, is_encoder_linear, kohya_tensors, text_encoder_prefix
from .layers import Layer
from .pairs import Pair

_CLIPS: dict[tuple[Family, str], str] = {
    ("sd1", "text_encoder"): "clip_l",
    ("sd2", "text_encoder"): "clip_h",
    ("sdxl", "text_encoder"): "clip_l",
    ("sdxl", "text_encoder_2"): "clip_g",
    ("sdxl-refiner", "text_encoder_2"): "clip_g",
}


class ComfyUI(LoraFormat):
    """The format of ComfyUI. `unet`: the paths of all modules of the U-Net."""

    holds_whole = True
    wants_attention = False

    def __init__(self, family: Family, unet: Collection[str], enlarged: int = 0) -> None:
        super().__init__(enlarged)
        self._family = family
        self._original = original_unet_names(unet)

    def pair_key(self, layer: Layer) -> str | None:
        if layer.model == "unet":
            path = self._original(layer.path)
            return path and f"lora_unet_{path.replace('.', '_')}"
        clip = _CLIPS.get((self._family, layer.model))
        if clip is None:
            return None
        if is_encoder_linear(layer.path) and layer.is_matrix:
            # The refiner's encoder is its only one, and ComfyUI names it as a first one.
            family = "sd1" if self._family == "sdxl-refiner" else self._family
            return text_encoder_prefix(layer.model, family) + layer.path.replace(".", "_")
        return f"text_encoders.{clip}.transformer.{layer.path}"

    def whole_key(self, layer: Layer) -> str | None:
        module = self.pair_key(layer)
        if module is None:
            return None
        # ComfyUI finds a bias by the name of its weight's module.
        return f"{module}.diff_b" if layer.parameter == "bias" else f"{module}.diff"

    def tensors(self, key: str, pair: Pair) -> Tensors:
        return kohya_tensors(key, pair)

    def metadata(self, pairs: Mapping[str, Pair]) -> dict[str, str]:  # noqa: ARG002
        return {}
