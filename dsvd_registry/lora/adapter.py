"""What a LoRA file changes, layer by layer, and what in it cannot be taken up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.dtypes import DELTA_DTYPES
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
    """`scale` times up (out, r) down (r, in) is added to a weight; either may be a convolution's.

    `tensors`: names in the file of all that says so.
    """

    layer: LayerName
    up: TensorInfo
    down: TensorInfo
    scale: float
    tensors: tuple[str, ...]
    parameter: Parameter = "weight"


@dataclass(frozen=True)
class FullChange:
    """`scale` times a tensor of the parameter's own shape is added to it."""

    layer: LayerName
    difference: TensorInfo
    scale: float
    tensors: tuple[str, ...]
    parameter: Parameter


Change = FactorChange | FullChange


@dataclass(frozen=True)
class Refused:
    """A tensor of the file that is not taken up, and why: in words that are alike for like ones."""

    tensor: str
    reason: str


@dataclass(frozen=True)
class Adapter:
    """A LoRA file. Every tensor of it is of a change or refused. `layers`: as they are spelled."""

    changes: tuple[Change, ...]
    refused: tuple[Refused, ...]
    layers: tuple[str, ...]


def read_adapter(checkpoint: Checkpoint, configuration: Configuration) -> Adapter:
    """By names, dtypes and shapes; of the numbers only each alpha is read. Raises `CheckpointError`.

    A layer of which one tensor is not understood is refused whole: without it the others would mean
    something else.
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
    """Why a layer of these tensors is refused; None if it is not."""
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
    """Return whether (out, r) and (r, in) or their convolutions have one rank, of at least 1."""
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
