"""Which family of models a LoRA file was trained for, as far as it tells."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ..layouts.families import Family

# What trainers write into the header: kohya's own key, and that of the modelspec.
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
# more than one transformer block in a row; kohya calls its U-Net's layers by LDM's names.
_NAMED: tuple[tuple[str, Family], ...] = (
    (r"single_transformer_blocks[._]|double_blocks[._]", "flux"),
    (r"joint_blocks[._]", "sd3"),
    (r"(?:^|\.)transformer[._]transformer_blocks[._]\d+[._]attn[._]add_q_proj", "sd3"),
    (r"^lora_te2_|^text_encoder_2\.", "sdxl"),
    (r"attentions[._]\d+[._]transformer_blocks[._][1-9]", "sdxl"),
    (r"(?:input|output)_blocks[._]\d+[._]1[._]transformer_blocks[._][1-9]", "sdxl"),
)


def family_of(layers: Collection[str], metadata: Mapping[str, str]) -> Family:
    """From what its header says, or from the names of its layers; "unknown" where neither tells."""
    for key in _METADATA:
        for pattern, family in _WRITTEN:
            if re.search(pattern, metadata.get(key, "")):
                return family
    for pattern, family in _NAMED:
        if any(re.search(pattern, layer) for layer in layers):
            return family
    return "unknown"
