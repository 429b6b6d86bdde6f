"""The tensors of a loaded pipeline, by their names in a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..checkpoint import TensorInfo
from ..codec.torch_tensors import TORCH_DTYPES
from ..errors import InvalidArgument

_DTYPE_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}
_COMPILED = "_orig_mod."  # the prefix of names in a module that torch.compile wraps


def tensors_of(pipeline: object) -> dict[str, torch.Tensor]:
    """The parameters and saved buffers of all sub-models, by names such as `unet.conv_in.weight`.

    They are the pipeline's own tensors, not copies. Call this again for each use: moving a model to
    another device replaces its buffers. Raises `InvalidArgument` for an object that is not a
    pipeline with weights.
    """
    components = getattr(pipeline, "components", None)
    tensors = {}
    if isinstance(components, Mapping):
        for part, module in components.items():
            if isinstance(module, torch.nn.Module):
                for local, tensor in module.state_dict(keep_vars=True).items():
                    tensors[f"{part}.{local.replace(_COMPILED, '')}"] = tensor
    if not tensors:
        raise InvalidArgument(
            f"{type(pipeline).__name__} is not a pipeline with weights",
            "Give a loaded diffusers pipeline.",
        )
    return tensors


def infos_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, TensorInfo]:
    """The names, dtypes and shapes of tensors, without dtypes that no checkpoint has (quantised)."""
    return {
        name: TensorInfo(name, _DTYPE_NAMES[tensor.dtype], tuple(tensor.shape))
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and tensor.dtype in _DTYPE_NAMES
    }


def check_in_memory(name: str, tensor: torch.Tensor) -> None:
    """Raise `InvalidArgument` for a tensor without memory of its own (a meta tensor)."""
    if tensor.is_meta:
        raise InvalidArgument(
            f"the pipeline's {name!r} has no memory of its own: it is offloaded module by module",
            "Load the pipeline without sequential offloading; offloading whole models is fine.",
        )


def overwrite(tensor: torch.Tensor, bits: torch.Tensor) -> None:
    """Copy `bits` into the tensor's own memory, so that all references to it see them."""
    # Inference mode can write to parameters that require a gradient, and to those of a pipeline that
    # was loaded in inference mode.
    with torch.inference_mode():
        tensor.copy_(bits)
