"""The changes of a LoRA file, layer by layer, and its tensors that cannot be merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.tensor_info import DELTA_DTYPES
from .alpha import Configuration, read_alpha
from .layer_names import LayerName, parse_layer
from .tensor_keys import UNKNOWN, Key, Role, parse_key

TWICE = "two tensors have one role in a layer"
HALF = "the other half of the pair is missing"
MISFIT = "its shape does not fit that of its pair"
BOTH = "a LoRA and a full difference of one weight"
STRAY_ALPHA = "an alpha without factors"

Parameter = Literal["weight", "bias", "modulation"]


@dataclass(frozen=True)
class FactorChange:
    """A low-rank change of a weight: `scale` times up (out, r) times down (r, in) is added to it.

    `up` and `down` may be kernels of convolutions. `tensors`: the names of its tensors in the file.
    """

    layer: LayerName
    up: TensorInfo
    down: TensorInfo
    scale: float
    tensors: tuple[str, ...]
    parameter: Parameter = "weight"


@dataclass(frozen=True)
class FullChange:
    """A full change of a parameter: `scale` times `difference`, of its shape, is added to it."""

    layer: LayerName
    difference: TensorInfo
    scale: float
    tensors: tuple[str, ...]
    parameter: Parameter


Change = FactorChange | FullChange


@dataclass(frozen=True)
class Refused:
    """A tensor of the file that is not merged, and the reason: the same text for the same cause."""

    tensor: str
    reason: str


@dataclass(frozen=True)
class Adapter:
    """The content of a LoRA file: each of its tensors belongs to a change or is refused.

    `layers`: the names of the layers, as the file spells them.
    """

    changes: tuple[Change, ...]
    refused: tuple[Refused, ...]
    layers: tuple[str, ...]


def read_adapter(checkpoint: Checkpoint, configuration: Configuration) -> Adapter:
    """Read the changes of a LoRA file by names, dtypes and shapes. Only alphas are read as numbers.

    A layer with one unknown tensor is refused as a whole: that tensor may change the meaning of the
    others.

    Args:
        checkpoint: the open LoRA file.
        configuration: PEFT's configuration, for layers without an alpha in the file.

    Raises:
        CheckpointError: for an alpha that is no number, and as `Configuration.scale` does.
    """
    layers: dict[str, list[tuple[Key, TensorInfo]]] = {}
    for info in checkpoint.tensors.values():
        key = parse_key(info.name)
        layers.setdefault(key.layer, []).append((key, info))
    changes: list[Change] = []
    refused: list[Refused] = []
    for spelled, tensors in layers.items():
        reason = _reason(tensors)
        if reason is None:
            roles: Mapping[Role, TensorInfo] = {key.role: info for key, info in tensors}
            changes += _changes(parse_layer(spelled), roles, checkpoint, configuration)
        else:
            refused += [Refused(info.name, reason) for _, info in tensors]
    return Adapter(tuple(changes), tuple(refused), tuple(layers))


def _reason(tensors: list[tuple[Key, TensorInfo]]) -> str | None:
    """The reason why a layer of these tensors is refused; None if it is not."""
    kinds = [key.kind for key, _ in tensors if key.role == "unsupported"]
    if kinds:
        return next((kind for kind in kinds if kind != UNKNOWN), UNKNOWN)
    roles = {key.role: info for key, info in tensors}
    if len(roles) < len(tensors):
        return TWICE
    if ("up" in roles) != ("down" in roles) or ("up_bias" in roles and "up" not in roles):
        return HALF
    if ("up" in roles and "diff" in roles) or ("up_bias" in roles and "diff_bias" in roles):
        return BOTH
    if roles.keys() == {"alpha"}:
        return STRAY_ALPHA
    if "up" in roles and not _fit(roles["up"].shape, roles["down"].shape):
        return MISFIT
    strange = {info.dtype for role, info in roles.items() if role != "alpha"} - {*DELTA_DTYPES}
    return f"numbers of {min(strange)}" if strange else None


def _fit(up: tuple[int, ...], down: tuple[int, ...]) -> bool:
    """Return whether up (out, r) and down (r, in), or their kernels, have one rank r of at least 1."""
    return len(up) >= 2 and len(down) >= 2 and up[1] == down[0] > 0 and all(n == 1 for n in up[2:])


def _changes(
    layer: LayerName,
    roles: Mapping[Role, TensorInfo],
    checkpoint: Checkpoint,
    configuration: Configuration,
) -> Iterator[Change]:
    if "up" in roles:
        up, down, alpha = roles["up"], roles["down"], roles.get("alpha")
        rank = down.shape[0]
        names = tuple(info.name for info in (up, down, alpha) if info is not None)
        if alpha is None:
            scale = configuration.scale(layer, rank)
        else:
            scale = read_alpha(checkpoint, alpha) / rank
        yield FactorChange(layer, up, down, scale, names)
        if "up_bias" in roles:
            bias = roles["up_bias"]
            yield FullChange(layer, bias, scale, (bias.name,), "bias")
    parameters: tuple[tuple[Role, Parameter], ...] = (
        ("diff", "weight"),
        ("diff_bias", "bias"),
        ("diff_modulation", "modulation"),  # Wan's blocks have a tensor of that name
    )
    for role, parameter in parameters:
        if role in roles:
            yield FullChange(layer, roles[role], 1.0, (roles[role].name,), parameter)
