"""The names of tensors in a LoRA file: the layer and the role of each.

They are written by kohya's sd-scripts and LyCORIS (`lora_unet_..._to_q.lora_up.weight`), PEFT and
diffusers (`unet...to_q.lora_A.weight`), diffusers before it used PEFT (`to_q.lora.up.weight`,
`to_q_lora.up.weight`, `q_proj.lora_linear_layer.up.weight`) and XLabs (`qkv_lora1.up.weight`). An
adapter of another kind is recognised by the tensors that only its kind has.
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
    """A parsed name. `layer`: as the file spells it. `kind`: why an "unsupported" tensor is refused."""

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
# Tensors that are merged, but are no sign of a LoRA: other files have such names too.
_OTHER_ROLES: tuple[tuple[str, Role], ...] = (
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
_OTHER_UNSUPPORTED: tuple[tuple[str, str], ...] = (
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
    (_at_end(pattern), role) for pattern, role in (*_PAIRS, *_OTHER_ROLES)
)
_KINDS = tuple((_at_end(pattern), kind) for pattern, kind in (*_UNSUPPORTED, *_OTHER_UNSUPPORTED))
_MARK = _at_end(*(pattern for pattern, _ in (*_PAIRS, *_UNSUPPORTED)))
_SUPPORTED = _at_end(*(pattern for pattern, _ in (*_PAIRS, *_OTHER_ROLES)))


def parse_key(name: str) -> Key:
    """Parse the name of a tensor in a LoRA file."""
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
    """Return whether tensors of these names are an adapter, of any kind.

    A whole model with adapters inside is not one: most of its tensors have other names.
    """
    known = list(names)
    marked = sum(bool(_PREFIXES.match(name) or _before(_MARK, name)) for name in known)
    supported = sum(bool(_before(_SUPPORTED, name)) for name in known)
    return marked > 0 and 2 * max(marked, supported) >= len(known)


def _before(pattern: re.Pattern[str], name: str) -> str:
    """The name before the `pattern` that it ends with; "" if it does not, or nothing is before it."""
    match = pattern.search(name)
    return name[: match.start()] if match else ""
