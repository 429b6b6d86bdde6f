"""What a LoRA format is: which layers it holds, and what its file calls them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping

import torch

from ..layouts.families import Family
from .layers import Layer
from .pairs import Pair

Tensors = dict[str, torch.Tensor]
ATTENTION_END = ".self_attn.out_proj"


class LoraFormat(ABC):
    """One format for versions of one family."""

    holds_whole = False
    """Return whether a delta may stand in the file as it is, besides low-rank pairs."""

    keeps_alphas = True
    """Return whether every loader reads the alphas, so that pairs may be enlarged by them."""

    wants_attention = True
    """Return whether diffusers must be able to load it, which wants the end of a text encoder's attention:
    by it alone it tells what kind of names the file has."""

    def __init__(self, enlarged: int = 0) -> None:
        """`enlarged`: see enlarging.py."""
        self._divisor = 4.0**enlarged

    @abstractmethod
    def pair_key(self, layer: Layer) -> str | None:
        """What the file calls a module that takes a low-rank pair; None if the format has none."""

    def whole_key(self, layer: Layer) -> str | None:  # noqa: ARG002
        """What the file calls a whole delta of this parameter; None if the format has none."""
        return None

    def alpha(self, rank: int) -> float:
        """What is written as the alpha of a module of this rank."""
        return rank / self._divisor

    @abstractmethod
    def tensors(self, key: str, pair: Pair) -> Tensors:
        """The file's tensors for one pair."""

    @abstractmethod
    def metadata(self, pairs: Mapping[str, Pair]) -> dict[str, str]:
        """The file's own metadata, given all pairs by key."""


def kohya_tensors(key: str, pair: Pair) -> Tensors:
    """A pair in kohya's words, which ComfyUI shares."""
    return {
        f"{key}.lora_up.weight": pair.up,
        f"{key}.lora_down.weight": pair.down,
        f"{key}.alpha": torch.tensor(pair.alpha, dtype=torch.float32),
    }


def text_encoder_prefix(model: str, family: Family) -> str:
    """kohya's: SD has one text encoder, SDXL two."""
    if family in ("sd1", "sd2"):
        return "lora_te_"
    return "lora_te1_" if model == "text_encoder" else "lora_te2_"


def is_encoder_linear(path: str) -> bool:
    """Return whether it is a linear layer inside a CLIP's encoder, which every format knows."""
    return path.startswith("text_model.encoder.layers.")


def commonest(ranks: Iterable[int]) -> int:
    """The rank that most modules have; of several the smallest. 1 if there is none."""
    counts = Counter(ranks)
    return min(counts, key=lambda rank: (-counts[rank], rank), default=1)
