"""What the name of a tensor says in a LoRA file: of which layer it is, and what it is there.

Written by: kohya's sd-scripts and LyCORIS (`lora_unet_..._to_q.lora_up.weight`), PEFT and diffusers
(`unet...to_q.lora_A.weight`), diffusers before it took up PEFT (`to_q.lora.up.weight`,
`to_q_lora.up.weight`, `q_proj.lora_linear_layer.up.weight`), XLabs (`qkv_lora1.up.weight`). Names
decide nothing else: an adapter of another kind is told by the tensors that only its kind has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "up", "down", "alpha", "up_bias", "diff", "diff_bias", "diff_modulation", "unsupported"
]


@dataclass(frozen=True)
class Key:
    """`layer`: as the file spells it. `kind`: of what is unsupported, a reason for people."""

    layer: str
    role: Role
    kind: str = ""


DORA = "DoRA: the magnitude of a layer is learned besides its LoRA"
UNKNOWN = "not a tensor of a LoRA"
EMBEDDING = "a textual inversion: the embedding of a new token"

_PAIRS: tuple[tuple[str, Role], ...] = (
    (r"\.lora_up\.weight", "up"),
    (r"\.lora_down\.weight", "down"),
    (r"\.lora_B(?:\.[^.]+)?\.weight", "up"),
    (r"\.lora_A(?:\.[^.]+)?\.weight", "down"),
    (r"\.lora\.up\.weight", "up"),
    (r"\.lora\.down\.weight", "down"),
    (r"\.lora_linear_layer\.up\.weight", "up"),
    (r"\.lora_linear_layer\.down\.weight", "down"),
    (r"_lora\.up\.weight", "up"),
    (r"_lora\.down\.weight", "down"),
    (r"\.lora_B(?:\.[^.]+)?\.bias", "up_bias"),
    (r"(?<=_lora[12])\.up\.weight", "up"),  # XLabs: 1 is the image's, 2 the text's
    (r"(?<=_lora[12])\.down\.weight", "down"),
)
# Taken up in a LoRA file, and no sign of one: other files have tensors of these names too.
_BESIDE: tuple[tuple[str, Role], ...] = (
    (r"\.alpha", "alpha"),
    (r"\.modulation\.diff|\.diff_m", "diff_modulation"),
    (r"\.diff", "diff"),
    (r"\.diff_b", "diff_bias"),
)
_UNSUPPORTED: tuple[tuple[str, str], ...] = (
    (r"\.hada_(?:w[12]_[ab]|t[12])", "LoHa: a Hadamard product of two low-rank matrices"),
    (r"\.lokr_(?:w[12](?:_[ab])?|t2)", "LoKr: a Kronecker product"),
    (r"\.dora_scale|\.lora_magnitude_vector(?:\..+)?", DORA),
    (r"\.lora_mid\.weight", "a Tucker decomposition (lora_mid)"),
    (r"\.b?oft_\w+(?:\..+)?", "OFT or BOFT: an orthogonal matrix that the weight is multiplied by"),
    (r"\.(?:on_input|ia3_l(?:\..+)?)", "IA3: factors that activations are multiplied by"),
    (r"\.(?:a[12]|bm?[12])\.weight", "GLoRA: the weight is multiplied by a low-rank matrix"),
    (r"\.lora_E(?:\..+)?|\.ranknum(?:\..+)?", "AdaLoRA: singular values of their own"),
    (r"\.lora_embedding_[AB](?:\..+)?", "a LoRA of an embedding"),
    (r"\.vera_lambda_[bd](?:\..+)?", "VeRA: its random matrices are not in the file"),
)
_UNSUPPORTED_BESIDE: tuple[tuple[str, str], ...] = (
    (r"\.(?:w_norm|b_norm)", "a norm's own weights"),
    (r"\.(?:scalar|rescale)", "a factor of LyCORIS"),
    (r"\.(?:reshape_weight|set_weight)", "a weight that is replaced"),
    (r"\.string_to_param\..+", EMBEDDING),
)
_BUNDLED = "bundle_emb."  # OneTrainer's, with the name of the token after it
_PREFIXES = re.compile(r"(?:lora|oft)_(?:unet|transformer|te[123]?)_|lycoris_")


def _at_end(*patterns: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(patterns)})\Z")


_ROLES: tuple[tuple[re.Pattern[str], Role], ...] = tuple(
    (_at_end(pattern), role) for pattern, role in (*_PAIRS, *_BESIDE)
)
_KINDS = tuple((_at_end(pattern), kind) for pattern, kind in (*_UNSUPPORTED, *_UNSUPPORTED_BESIDE))
_MARK = _at_end(*(pattern for pattern, _ in (*_PAIRS, *_UNSUPPORTED)))
_TAKEN_UP = _at_end(*(pattern for pattern, _ in (*_PAIRS, *_BESIDE)))


def parse_key(name: str) -> Key:
    """What the tensor `name` of a LoRA file is."""
    if name.startswith(_BUNDLED):
        return Key(name.rpartition(".")[0], "unsupported", EMBEDDING)
    for pattern, role in _ROLES:
        if layer := _before(pattern, name):
            return Key(layer, role)
    for pattern, kind in _KINDS:
        if layer := _before(pattern, name):
            return Key(layer, "unsupported", kind)
    return Key(name.rpartition(".")[0] or name, "unsupported", UNKNOWN)


def is_lora(names: Iterable[str]) -> bool:
    """Return whether the tensors of these names are an adapter's, of whichever kind.

    A whole model with adapters inside is none: most of its tensors have other names.
    """
    known = list(names)
    marked = sum(bool(_PREFIXES.match(name) or _before(_MARK, name)) for name in known)
    beside = sum(bool(_before(_TAKEN_UP, name)) for name in known)
    return marked > 0 and 2 * max(marked, beside) >= len(known)


def _before(pattern: re.Pattern[str], name: str) -> str:
    """What stands in front of the `pattern` that the name ends with; nothing if there is neither."""
    found = pattern.search(name)
    return name[: found.start()] if found else ""
