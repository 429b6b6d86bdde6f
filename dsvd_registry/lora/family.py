"""The family of models that a LoRA file was trained for, as far as the file shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..layouts.families import Family
from .adapter import Adapter, FactorChange

# Keys of the header: that of the modelspec, and kohya's own.
_METADATA = ("modelspec.architecture", "ss_base_model_version")
_WRITTEN: tuple[tuple[str, Family], ...] = (
    (r"refiner", "sdxl-refiner"),
    (r"sdxl|stable-diffusion-xl", "sdxl"),
    (r"sd3|stable-diffusion-3", "sd3"),
    (r"flux", "flux"),
    (r"sd_v1|stable-diffusion-v1", "sd1"),
    (r"sd_v2|stable-diffusion-v2", "sd2"),
)
# Names that only one family's layers have, flat or with dots. SDXL has a second text encoder and
# more than one transformer block in a row; kohya gives its U-Net's layers LDM's names.
_NAMED: tuple[tuple[str, Family], ...] = (
    (r"single_transformer_blocks[._]|double_blocks[._]", "flux"),
    (r"joint_blocks[._]", "sd3"),
    (r"^lora_te2_|^text_encoder_2\.", "sdxl"),
    (r"attentions[._]\d+[._]transformer_blocks[._][1-9]", "sdxl"),
    (r"(?:input|output)_blocks[._]\d+[._]1[._]transformer_blocks[._][1-9]", "sdxl"),
)
# The input width of cross attention, which is that of the family's text encoders.
_CROSS_ATTENTION = re.compile(r"(?:down_|mid_|up_|input_|middle_|output_)block.*attn2[._]to_[kv]$")
_WIDTHS: dict[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}


def family_of(adapter: Adapter, metadata: Mapping[str, str]) -> Family:
    """The family by the header, the names of the layers, or their width; else "unknown"."""
    for key in _METADATA:
        for pattern, family in _WRITTEN:
            if re.search(pattern, metadata.get(key, "")):
                return family
    for pattern, family in _NAMED:
        if any(re.search(pattern, layer) for layer in adapter.layers):
            return family
    for change in adapter.changes:
        if isinstance(change, FactorChange) and _CROSS_ATTENTION.search(change.layer.path):
            return _WIDTHS.get(change.down.shape[1], "unknown")
    return "unknown"
