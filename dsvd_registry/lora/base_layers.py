"""Where in a base each layer stands, by any of the words that LoRA files call it.

The words are those of the base's own file, those of the other layout (diffusers' for a base in the
original one; the original ones for a U-Net, a FLUX or an SD 3 transformer in diffusers'), and for a
base of no known family its names without what its file puts in front of them all. A file that
flattens the dots to underscores is resolved against the names that there are: `to_out_0` could be
`to.out.0` by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..checkpoint import TensorInfo
from ..layouts import View, ViewedTensors
from ..layouts.sub_models import Part, is_text_encoder, split
from ..layouts.view import Shape
from .layer_names import UNETS, LayerName
from .layer_place import LayerPlace, LayerRows
from .transformer_words import diffusers_words, original_words

Tensors = Mapping[str, TensorInfo]

_MODELS = (*UNETS, "text_encoder", "text_encoder_2", "text_encoder_3")
_UNET = ("down_blocks.", "mid_block.", "up_blocks.")
# In front of every name in the file of a model that `split` does not know.
_WRAPPERS = ("diffusion_model.", "model.", "net.", "dit.")


class BaseLayers:
    """The layers of a base of these tensors."""

    def __init__(self, tensors: Tensors) -> None:
        found = split(tensors)
        parts = {part.model: part for part in reversed(found.parts)}
        self._models = {name: _Words(parts[name], tensors) for name in _MODELS if name in parts}
        self._tensors = tensors
        self._rest = _Names()
        for name in found.rest:
            place = _whole(name, tensors)
            self._rest.add(name, place)
            for wrapper in _WRAPPERS:
                if name.startswith(wrapper):
                    self._rest.add(name.removeprefix(wrapper), place)

    def places(self, layer: LayerName, parameter: str) -> Iterator[tuple[LayerPlace, ...]]:
        """Where the `parameter` ("weight", "bias") of a layer may stand, the likeliest first: more
        than one place at once where several layers of the base have that name.

        Raises `CheckpointError` where diffusers cannot convert the base's names.
        """
        for model in self._candidates(layer.models):
            yield from model.places(layer, parameter)
        name = f"{layer.path}.{parameter}"
        if not layer.flat and name in self._tensors:
            yield (_whole(name, self._tensors),)
        elif found := self._rest.find(layer, parameter):
            yield found

    def _candidates(self, models: tuple[str, ...]) -> Iterable[_Words]:
        named = [self._models[model] for model in models or self._models if model in self._models]
        if named or not models or not is_text_encoder(models[0]):
            return named
        encoders = [words for name, words in self._models.items() if is_text_encoder(name)]
        # A file of one text encoder may call it the first or the second: the refiner's is both.
        return encoders if len(encoders) == 1 else []


class _Names:
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


class _Words:
    """What the tensors of one sub-model are called, in one set of words after the other."""

    def __init__(self, part: Part, tensors: Tensors) -> None:
        self._part, self._tensors = part, tensors
        self._names = [_Names(self._own())]

    def places(self, layer: LayerName, parameter: str) -> Iterator[tuple[LayerPlace, ...]]:
        for number in (0, 1):
            if number == len(self._names):
                # Only now: it may load diffusers, and a base may be in the file's words already.
                self._names.append(_Names(self._converted()))
            for spelled in self._spellings(layer):
                if found := self._names[number].find(spelled, parameter):
                    yield found

    def _spellings(self, layer: LayerName) -> Iterator[LayerName]:
        yield layer
        # transformers >= 5.6 and its adapters leave `text_model.` out of a CLIPTextModel.
        if is_text_encoder(self._part.model):
            yield replace(layer, path=f"text_model{'_' if layer.flat else '.'}{layer.path}")

    def _own(self) -> dict[str, LayerPlace]:
        return {local: _whole(name, self._tensors) for local, name in self._part.names.items()}

    def _converted(self) -> dict[str, LayerPlace]:
        """In diffusers' words what has others, and the other way round."""
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
        made = in_diffusers_names(part.model, part.naming, shapes)
        return {name: self._place((LayerRows(source),)) for name, source in made.items()}

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
