"""The interface of a LoRA format: the layers that its file contains, and their names there."""

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
    """A LoRA format for versions of one family."""

    holds_whole = False
    """The file may contain whole deltas in addition to low-rank pairs."""

    keeps_alphas = True
    """Every loader reads the alphas, so that pairs may be enlarged with them."""

    wants_attention = True
    """The file must have the last layer of a text encoder's attention: diffusers recognises the kind
    of names by it alone."""

    fills_rank = False
    """With a rank limit every module has a pair of this very rank, filled up with zeros: programs that
    swap adapters in memory want the same modules, ranks and alphas in all."""

    def __init__(self, enlarged: int = 0) -> None:
        """Make a format. `enlarged`: the power of 2 that `enlarge_pairs.enlarging` gives."""
        self._divisor = 4.0**enlarged

    @abstractmethod
    def pair_key(self, layer: Layer) -> str | None:
        """The key of a module's low-rank pair; None if the format has no such module."""

    def whole_key(self, layer: Layer) -> str | None:  # noqa: ARG002
        """The key of a parameter's whole delta; None if the format has none."""
        return None

    def alpha(self, rank: int) -> float:
        """The alpha to write for a module of this rank."""
        return rank / self._divisor

    @abstractmethod
    def tensors(self, key: str, pair: Pair) -> Tensors:
        """The file's tensors for one pair, by name."""

    @abstractmethod
    def metadata(self, pairs: Mapping[str, Pair]) -> dict[str, str]:
        """The file's own metadata, given all pairs by key."""


def kohya_tensors(key: str, pair: Pair) -> Tensors:
    """The tensors of a pair in kohya's names, which ComfyUI uses too."""
    return {
        f"{key}.lora_up.weight": pair.up,
        f"{key}.lora_down.weight": pair.down,
        f"{key}.alpha": torch.tensor(pair.alpha, dtype=torch.float32),
    }


def text_encoder_prefix(model: str, family: Family) -> str:
    """The prefix of kohya's names: SD has one text encoder, SDXL two."""
    if family in ("sd1", "sd2"):
        return "lora_te_"
    return "lora_te1_" if model == "text_encoder" else "lora_te2_"


def is_encoder_linear(path: str) -> bool:
    """Return whether `path` is a linear layer in a CLIP's encoder, which every format knows."""
    return path.startswith("text_model.encoder.layers.")


def commonest(ranks: Iterable[int]) -> int:
    """The most frequent rank, the smallest of several; 1 if there is none."""
    counts = Counter(ranks)
    return min(counts, key=lambda rank: (-counts[rank], rank), default=1)
