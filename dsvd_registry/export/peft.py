"""PEFT's format as diffusers saves and loads it, with a PEFT configuration for each model.

diffusers takes no tensor whose name lacks "lora", so that the file has no alpha tensors. Ranks and
alphas are in `lora_adapter_metadata`, which becomes a `peft.LoraConfig` per model (0.34 and later).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from .formats import LoraFormat, Tensors, commonest
from .layers import Layer
from .pairs import Pair

METADATA_KEY = "lora_adapter_metadata"
# A CLIPTextModel of transformers >= 5.6 has no such part. diffusers removes it from the names of
# tensors, but not from those of the configuration. Older models have it: PEFT finds a module by the
# end of its path.
_TEXT_MODEL = "text_model."


class Peft(LoraFormat):
    """The format of PEFT, the same for every family."""

    keeps_alphas = False  # they are in the metadata, which only newer loaders read

    def pair_key(self, layer: Layer) -> str | None:
        return f"{layer.model}.{layer.path}"

    def tensors(self, key: str, pair: Pair) -> Tensors:
        return {f"{key}.lora_A.weight": pair.down, f"{key}.lora_B.weight": pair.up}

    def metadata(self, pairs: Mapping[str, Pair]) -> dict[str, str]:
        ranks: dict[str, dict[str, int]] = {}
        for key, pair in pairs.items():
            model, _, path = key.partition(".")
            ranks.setdefault(model, {})[path.removeprefix(_TEXT_MODEL)] = pair.rank
        document = {
            f"{model}.{field}": value
            for model, of_model in sorted(ranks.items())
            for field, value in _configuration(of_model).items()
        }
        return {METADATA_KEY: json.dumps(document, sort_keys=True)}


def _configuration(ranks: Mapping[str, int]) -> dict[str, object]:
    """The arguments of `peft.LoraConfig` for modules of these ranks, with the rank as each alpha."""
    usual = commonest(ranks.values())
    others = {_pattern(path, ranks): r for path, r in sorted(ranks.items()) if r != usual}
    return {
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
    }


def _pattern(path: str, paths: Iterable[str]) -> str:
    """A pattern by which PEFT finds this module and no other: it compares the end of paths.

    FLUX has a `proj_out` outside its blocks and one in each. (`^` means the whole path, which does
    not work for a text encoder.)
    """
    return f"^{path}" if any(other.endswith(f".{path}") for other in paths) else path
