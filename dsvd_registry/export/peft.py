"""PEFT's format as diffusers saves and loads it, with a PEFT configuration for each model.

diffusers takes no tensor whose name lacks "lora", so that the file has no alpha tensors. Ranks and
alphas are in `lora_adapter_metadata`, which becomes a `peft.LoraConfig` per model (0.34 and later).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..layouts.families import Family
from .formats import LoraFormat, Tensors, commonest
from .layers import Layer
from .pairs import Pair
from .peft_folder import FAMILY_KEY, TEXT_MODEL, configuration

METADATA_KEY = "lora_adapter_metadata"


class Peft(LoraFormat):
    """The format of PEFT, the same for every family."""

    keeps_alphas = False  # they are in the metadata, which only newer loaders read
    fills_rank = True

    def __init__(self, family: Family) -> None:
        super().__init__()
        self._family = family

    def pair_key(self, layer: Layer) -> str | None:
        return f"{layer.model}.{layer.path}"

    def tensors(self, key: str, pair: Pair) -> Tensors:
        return {f"{key}.lora_A.weight": pair.down, f"{key}.lora_B.weight": pair.up}

    def metadata(self, pairs: Mapping[str, Pair]) -> dict[str, str]:
        ranks: dict[str, dict[str, int]] = {}
        for key, pair in pairs.items():
            model, _, path = key.partition(".")
            # A CLIPTextModel of transformers >= 5.6 has no such part. diffusers removes it from the
            # names of tensors, but not from those of the configuration. Older models have it: PEFT
            # finds a module by the end of its path.
            ranks.setdefault(model, {})[path.removeprefix(TEXT_MODEL)] = pair.rank
        document = {
            f"{model}.{field}": value
            for model, of_model in sorted(ranks.items())
            for field, value in configuration(of_model, commonest(of_model.values())).items()
        }
        return {METADATA_KEY: json.dumps(document, sort_keys=True), FAMILY_KEY: self._family}
