"""The places of a base's layers, by any of the names that LoRA files use for them.

The names are those of the base's own file, and those of the other layout (diffusers' for a base in
the original layout; the original ones for a U-Net, a FLUX or an SD 3 transformer in diffusers'). For a
base of an unknown family they are also its names without the prefix of its file. A file with
underscores for dots is resolved against the names of the base, because `to_out_0` alone could be
`to.out.0`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..checkpoint import TensorInfo
from ..layouts import View, ViewedTensors
from ..layouts.model_parts import Part, is_text_encoder, split
from ..layouts.view import Shape
from .layer_names import UNETS, LayerName
from .layer_place import LayerPlace, LayerRows
from .transformer_words import diffusers_words, original_words

Tensors = Mapping[str, TensorInfo]

_MODELS = (*UNETS, "text_encoder", "text_encoder_2", "text_encoder_3")
_UNET = ("down_blocks.", "mid_block.", "up_blocks.")
# Prefixes of all names in the file of a model that `split` does not know.
_WRAPPERS = ("diffusion_model.", "model.", "net.", "dit.")


class BaseLayers:
    """The layers of a base, found by the names that a LoRA file gives them."""

    def __init__(self, tensors: Tensors) -> None:
        sub_models = split(tensors)
        parts = {part.model: part for part in reversed(sub_models.parts)}
        self._models = {
            name: _SubModelNames(parts[name], tensors) for name in _MODELS if name in parts
        }
        self._tensors = tensors
        self._rest = _Places()
        for name in sub_models.rest:
            place = _whole(name, tensors)
            self._rest.add(name, place)
            for wrapper in _WRAPPERS:
                if name.startswith(wrapper):
                    self._rest.add(name.removeprefix(wrapper), place)

    def places(self, layer: LayerName, parameter: str) -> Iterator[tuple[LayerPlace, ...]]:
        """The possible places of a layer's `parameter` ("weight", "bias"), the likeliest first.

        An item has more than one place if several layers of the base have that name. Raises
        `CheckpointError` if diffusers cannot convert the base's names.
        """
        for model in self._candidates(layer.models):
            yield from model.places(layer, parameter)
        name = f"{layer.path}.{parameter}"
        if not layer.flat and name in self._tensors:
            yield (_whole(name, self._tensors),)
        elif places := self._rest.find(layer, parameter):
            yield places

    def _candidates(self, models: tuple[str, ...]) -> Iterable[_SubModelNames]:
        named = [self._models[model] for model in models or self._models if model in self._models]
        if named or not models or not is_text_encoder(models[0]):
            return named
        encoders = [model for name, model in self._models.items() if is_text_encoder(name)]
        # The LoRA of a single text encoder may call it the first or the second: the refiner's is both.
        return encoders if len(encoders) == 1 else []


class _Places:
    """Places by name, and by the name of their layer with underscores for its dots."""

    def __init__(self, words: Mapping[str, LayerPlace] | None = None) -> None:
        self._by_layer: dict[tuple[str, str], list[LayerPlace]] = {}
        self._by_flat: dict[tuple[str, str], list[LayerPlace]] = {}
        for name, place in (words or {}).items():
            self.add(name, place)

    def add(self, name: str, place: LayerPlace) -> None:
        layer, _, parameter = name.rpartition(".")
        self._by_layer.setdefault((layer, parameter), []).append(place)
        self._by_flat.setdefault((layer.replace(".", "_"), parameter), []).append(place)

    def find(self, layer: LayerName, parameter: str) -> tuple[LayerPlace, ...]:
        by_path = self._by_flat if layer.flat else self._by_layer
        return tuple(by_path.get((layer.path, parameter), ()))


class _SubModelNames:
    """The names of one sub-model's layers: first its own, then those of the other layout."""

    def __init__(self, part: Part, tensors: Tensors) -> None:
        self._part, self._tensors = part, tensors
        self._names = [_Places(self._own())]

    def places(self, layer: LayerName, parameter: str) -> Iterator[tuple[LayerPlace, ...]]:
        for number in (0, 1):
            if number == len(self._names):
                # Not earlier: this may import diffusers, and the base may have the file's names already.
                self._names.append(_Places(self._converted()))
            for spelled in self._spellings(layer):
                if places := self._names[number].find(spelled, parameter):
                    yield places

    def _spellings(self, layer: LayerName) -> Iterator[LayerName]:
        yield layer
        # transformers >= 5.6 and its adapters leave `text_model.` out of a CLIPTextModel.
        if is_text_encoder(self._part.model):
            yield replace(layer, path=f"text_model{'_' if layer.flat else '.'}{layer.path}")

    def _own(self) -> dict[str, LayerPlace]:
        return {local: _whole(name, self._tensors) for local, name in self._part.names.items()}

    def _converted(self) -> dict[str, LayerPlace]:
        """The places by the names of the other layout."""
        part, shapes = self._part, self._shapes()
        if part.model == "transformer":
            words = (original_words if part.naming == "diffusers" else diffusers_words)(shapes)
            return {name: self._place(rows) for name, rows in words.items()}
        if part.naming == "diffusers":
            if part.model != "unet" or not any(name.startswith(_UNET) for name in shapes):
                return {}
            from .ldm_words import ldm_words

            return {
                theirs: self._place((LayerRows(ViewedTensors((ours,))),))
                for theirs, ours in ldm_words(shapes).items()
            }
        from ..layouts.conversion import converts, in_diffusers_names

        if not converts(part.model, part.naming):
            return {}
        converted = in_diffusers_names(part.model, part.naming, shapes)
        return {name: self._place((LayerRows(source),)) for name, source in converted.items()}

    def _shapes(self) -> dict[str, Shape]:
        return {local: self._tensors[name].shape for local, name in self._part.names.items()}

    def _place(self, rows: tuple[LayerRows, ...]) -> LayerPlace:
        """The place of these rows, whose tensors go by their names inside the sub-model."""
        named = tuple(replace(one, base=one.base.resolve(self._part.names)) for one in rows)
        shapes = [one.base.resolve(self._tensors).shape for one in named]
        if len(shapes) == 1:
            return LayerPlace(named, shapes[0])
        return LayerPlace(named, View("concatenate").shape(shapes))


def _whole(name: str, tensors: Tensors) -> LayerPlace:
    return LayerPlace((LayerRows(ViewedTensors((name,))),), tensors[name].shape)
