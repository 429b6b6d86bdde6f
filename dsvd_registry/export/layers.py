"""The layers of a pipeline that the tensors of a version belong to, in diffusers' names.

The names of every LoRA format are derived from these. A version in the original layout is named by
diffusers' own conversion, or for transformers by our rules (`layouts.name_map`), which also give the
slices of fused projections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..checkpoint import TensorInfo
from ..errors import InvalidArgument
from ..layouts import View, describe
from ..layouts.families import Family
from ..layouts.model_parts import Part, is_text_encoder, split
from ..layouts.name_map import diffusers_names
from ..layouts.view import Shape

# The sub-models of each family that loaders load a LoRA into: none does for T5, of SD 3 and FLUX.
MODELS: dict[Family, tuple[str, ...]] = {
    "sd1": ("unet", "text_encoder"),
    "sd2": ("unet", "text_encoder"),
    "sdxl": ("unet", "text_encoder", "text_encoder_2"),
    "sdxl-refiner": ("unet", "text_encoder_2"),
    "sd3": ("transformer", "text_encoder", "text_encoder_2"),
    "flux": ("transformer", "text_encoder"),
}
# Only the original file has the last of the 24 layers of SD 2's text encoder, and its projection: no
# pipeline runs them, and diffusers has no module for them.
_SD2_LAYERS = 23
_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.")
_PROJECTION = "text_projection.weight"


@dataclass(frozen=True)
class Layer:
    """A parameter of a module in a pipeline.

    `model`: the sub-model, such as `unet`. `path`: the module's path in it. `parameter`: "weight" or
    "bias". `shape`: the parameter's.
    """

    model: str
    path: str
    parameter: str
    shape: Shape

    @property
    def is_embedding(self) -> bool:
        """Return whether it is a table of vectors, not a matrix that inputs are multiplied by."""
        return self.path.startswith("text_model.embeddings.")

    @property
    def is_matrix(self) -> bool:
        """Return whether it is the weight of a linear layer or of a convolution."""
        return self.parameter == "weight" and len(self.shape) in (2, 4) and not self.is_embedding


@dataclass(frozen=True)
class LayerView:
    """A layer's parameter, and the view of one tensor of the version that gives it."""

    layer: Layer
    view: View


@dataclass(frozen=True)
class Layers:
    """The layers of a version, by the name of the tensor that holds them.

    `views`: has no entry for a tensor that belongs to no layer.
    """

    family: Family
    views: Mapping[str, tuple[LayerView, ...]]

    def of(self, model: str) -> tuple[Layer, ...]:
        """All layers of one model."""
        layers = (one.layer for views in self.views.values() for one in views)
        return tuple(layer for layer in layers if layer.model == model)


def find_layers(tensors: Mapping[str, TensorInfo]) -> Layers:
    """Find the layers by the names and shapes of a version's tensors.

    Raises:
        InvalidArgument: for a family without LoRA names here.
        CheckpointError: if diffusers cannot convert the names.
    """
    described = describe(tensors)
    if described.family not in MODELS:
        raise InvalidArgument(
            f"the version looks like {described}, for which no LoRA files are written",
            "SD 1.x, 2.x, XL, 3 and FLUX can be exported. `dsvd materialize` writes any version.",
        )
    by_tensor: dict[str, list[LayerView]] = {}
    for part in split(tensors).parts:
        model = _model(part.model, described.family)
        if model in MODELS[described.family]:
            for name, view, local in _named(part, tensors):
                if _is_run(local, model, described.family):
                    path, _, parameter = local.rpartition(".")
                    shape = view.shape([tensors[name].shape])
                    layer = Layer(model, path, parameter, shape)
                    by_tensor.setdefault(name, []).append(LayerView(layer, view))
    return Layers(described.family, {name: tuple(views) for name, views in by_tensor.items()})


def _named(part: Part, tensors: Mapping[str, TensorInfo]) -> Iterator[tuple[str, View, str]]:
    """The name of each tensor in the version, the view of it, and diffusers' name of the view."""
    if part.naming == "diffusers":
        for local, name in part.names.items():
            yield name, View(), local
        return
    for local, source in diffusers_names(part, tensors).items():
        yield part.names[source.tensors[0]], source.view, local


def _model(model: str, family: Family) -> str:
    """The sub-model of the pipeline: the refiner's only text encoder is the second one there."""
    return "text_encoder_2" if family == "sdxl-refiner" and is_text_encoder(model) else model


def _is_run(local: str, model: str, family: Family) -> bool:
    """Return whether the family's pipeline has this parameter.

    The conversion gives an embedded vector the names of both kinds (see `layouts.conversion`).
    """
    if model == "unet":
        other = "class_embedding." if family.startswith("sdxl") else "add_embedding."
        return not local.startswith(other)
    if local == _PROJECTION:
        return model == "text_encoder_2" or family == "sd3"
    layer = _LAYER.match(local)
    return family != "sd2" or layer is None or int(layer[1]) < _SD2_LAYERS
