"""Features of pictures: what an extractor makes of them, and how two pictures differ in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .image_similarity import Picture

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """The features of one picture.

    `vector`: its place among pictures; None from an extractor that only compares.
    `maps`: values at each place of the picture, at several depths (channels x height x width),
    scaled so that `distance` needs only add up; empty from an extractor without them.
    """

    vector: Vector | None
    maps: tuple[npt.NDArray[np.float64], ...] = ()


class Extractor(Protocol):
    """A network that turns pictures into features. `name` and `weights`, a SHA-256, name a column."""

    @property
    def name(self) -> str: ...

    @property
    def weights(self) -> str: ...

    def features(self, picture: Picture) -> Features:
        """The features of one picture, the same whatever was asked before."""
        ...


class TextExtractor(Extractor, Protocol):
    """An extractor that puts texts among pictures, as CLIP does."""

    def text(self, prompt: str) -> Vector:
        """The place of a text among pictures."""
        ...


def unit(vector: Vector) -> Vector:
    """The vector at length 1. One of length 0 stays as it is."""
    length = float(np.sqrt(np.sum(vector**2)))
    return vector / length if length else vector


def unit_channels(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """A map whose channels have length 1 at each place."""
    wide = values.astype(np.float64)
    return np.asarray(wide / (np.sqrt(np.sum(wide**2, axis=0)) + 1e-10), dtype=np.float64)


def cosine(left: Vector, right: Vector) -> float:
    """The cosine between two vectors: exactly 1 for the same vector."""
    return float(1 - np.sum((unit(left) - unit(right)) ** 2) / 2)


def distance(left: Features, right: Features) -> float:
    """The feature distance, as LPIPS has it: exactly 0 for the same features.

    Squared differences, summed over channels, in the mean over places, summed over depths.
    """
    return float(
        sum(
            np.mean(np.sum((a - b) ** 2, axis=0))
            for a, b in zip(left.maps, right.maps, strict=True)
        )
    )
