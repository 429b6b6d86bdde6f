"""Where in a base each layer stands, by any of the words that LoRA files call it.

The words are those of the base's own file, those of diffusers, and for a U-Net in diffusers' words
the original (LDM) ones, which kohya uses for SDXL. (A FLUX or SD 3 transformer in diffusers' words
has these alone: an original layer would be spread over several of its own.) A file that flattens the
dots to underscores is resolved against the names that there are: `to_out_0` could be `to.out.0` by
itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..checkpoint import TensorInfo
from ..layouts import View
from ..layouts.parts import Part, is_text_encoder, split
from ..layouts.view import Shape
from .layer_names import UNETS, LayerName
from .transformer_words import transformer_words

Tensors = Mapping[str, TensorInfo]
Words = Mapping[str, "Place"]

_MODELS = (*UNETS, "text_encoder", "text_encoder_2", "text_encoder_3")
_TEXT_MODEL = "text_model."


@dataclass(frozen=True)
class Place:
    """A layer's weight or bias: the tensor of the base that holds it, and the view that takes it out.

    `shape`: the layer's own. `model`: its sub-model; empty where the base's family is not known.
    """

    tensor: str
    view: View
    shape: Shape
    model: str = ""


class BaseLayers:
    """The layers of a base of these tensors."""

    def __init__(self, tensors: Tensors) -> None:
        parts = {part.model: part for part in reversed(split(tensors).parts)}
        self._models = {name: _Words(parts[name], tensors) for name in _MODELS if name in parts}
        self._whole = {
            name: Place(name, View(), info.shape) for name, info in tensors.items()
        }  # for a family that is not known

    def places(self, layer: LayerName, parameter: str) -> Iterator[Place]:
        """Where the `parameter` ("weight", "bias") of a layer may stand, the likeliest first.

        Raises `CheckpointError` where diffusers cannot convert the base's names.
        """
        for model in self._candidates(layer.models):
            yield from model.places(layer, parameter)
        name = f"{layer.path}.{parameter}"
        if not layer.flat and name in self._whole:
            yield self._whole[name]

    def _candidates(self, models: tuple[str, ...]) -> Iterable[_Words]:
        named = [self._models[model] for model in models or self._models if model in self._models]
        if named or not models or not is_text_encoder(models[0]):
            return named
        encoders = [words for name, words in self._models.items() if is_text_encoder(name)]
        # A file of one text encoder may call it the first or the second: the refiner's is both.
        return encoders if len(encoders) == 1 else []


class _Words:
    """What the tensors of one sub-model are called, in one set of words after the other."""

    def __init__(self, part: Part, tensors: Tensors) -> None:
        self._part, self._tensors = part, tensors
        self._by_words: list[Words] = []
        self._by_flat: list[Words] = []
        self._add(self._own())
        self._is_complete = False

    def places(self, layer: LayerName, parameter: str) -> Iterator[Place]:
        for number in (0, 1):
            if number == 1 and not self._is_complete:
                # Only now: it loads diffusers, and a base may be in the file's words already.
                self._add(self._converted())
                self._is_complete = True
            found = (self._by_flat if layer.flat else self._by_words)[number]
            separator = "_" if layer.flat else "."
            for path in self._spellings(layer.path, separator):
                place = found.get(f"{path}{separator}{parameter}")
                if place is not None:
                    yield place

    def _spellings(self, path: str, separator: str) -> Iterator[str]:
        yield path
        # transformers >= 5.6 and its adapters leave `text_model.` out of a CLIPTextModel.
        if is_text_encoder(self._part.model):
            yield _TEXT_MODEL.replace(".", separator) + path

    def _add(self, words: Words) -> None:
        self._by_words.append(words)
        flat: dict[str, Place] = {}
        twice = set()
        for name, place in words.items():
            key = name.replace(".", "_")
            if flat.setdefault(key, place) is not place:
                twice.add(key)
        self._by_flat.append({key: place for key, place in flat.items() if key not in twice})

    def _own(self) -> Words:
        return {local: self._place(name, View()) for local, name in self._part.names.items()}

    def _converted(self) -> Words:
        """In diffusers' words what has others, and the other way round."""
        part = self._part
        if part.naming == "diffusers":
            if part.model != "unet":
                return {}
            from .ldm_words import ldm_words

            return {
                theirs: self._place(part.names[ours], View())
                for theirs, ours in ldm_words(self._shapes()).items()
            }
        if part.model == "transformer":
            return {
                theirs: self._place(part.names[ours], view)
                for theirs, (ours, view) in transformer_words(self._shapes()).items()
            }
        from ..layouts.conversion import converts, in_diffusers_names

        if not converts(part.model, part.naming):
            return {}
        made = in_diffusers_names(part.model, part.naming, self._shapes())
        return {
            name: self._place(part.names[source.name], source.view) for name, source in made.items()
        }

    def _shapes(self) -> dict[str, Shape]:
        return {local: self._tensors[name].shape for local, name in self._part.names.items()}

    def _place(self, name: str, view: View) -> Place:
        return Place(name, view, view.shape([self._tensors[name].shape]), self._part.model)
