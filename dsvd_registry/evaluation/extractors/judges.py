"""The networks that judge pictures: the built-in ones, and those whose weights are given by path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...checkpoint import open_checkpoint
from ...errors import CheckpointError, InvalidArgument
from ..features import Extractor, TextExtractor
from .efficientnet_lite import SIZES, EfficientNetLite, installed_weights
from .inception import Inception
from .inception_layers import FIRST as INCEPTIONS_FIRST
from .lpips import FIRST as LPIPSS_FIRST
from .lpips import Lpips
from .transformers_model import ClipExtractor, loaded_extractor

EXPECTED = ("clip", "dino", "lpips", "inception")
"""The networks that papers report; without weights, their columns say why they are empty."""


@dataclass(frozen=True)
class Judge:
    """An extractor, and what it gives. `texts`: itself, if it puts texts among pictures."""

    extractor: Extractor
    has_vector: bool
    has_maps: bool
    texts: TextExtractor | None = None


@dataclass(frozen=True)
class Judges:
    """The extractors that are there, and the reasons why others are not, by name."""

    loaded: tuple[Judge, ...]
    missing: Mapping[str, str]

    def only(self, name: str) -> Judges:
        """The extractor of this name alone; none if it is not loaded."""
        return Judges(tuple(one for one in self.loaded if one.extractor.name == name), {})


def loaded_judges(weights: Mapping[str, Path], device: str) -> Judges:
    """Load the built-in extractors, and those of `weights`: a folder of transformers, or a state dict.

    Nothing is downloaded, and nothing in a file is executed.

    Raises:
        InvalidArgument: for a path that holds no network that is known.
        CheckpointError: for a file that is damaged.
    """
    found, missing = [], {}
    for size in SIZES:
        file = installed_weights(size)
        if file is None:
            package = size.package.replace("_", "-")
            missing[size.name] = f"the package {package} is not installed"
        else:
            found.append(Judge(EfficientNetLite(size, file, device), True, True))
    for name, path in weights.items():
        found.append(_judge(name, path, device))
    for name in EXPECTED:
        if name not in weights:
            missing[name] = f"no --weights {name}=PATH was given"
    return Judges(tuple(found), missing)


def _judge(name: str, path: Path, device: str) -> Judge:
    if path.is_dir():
        extractor = loaded_extractor(name, path, device)
        texts = extractor if isinstance(extractor, ClipExtractor) else None
        return Judge(extractor, True, False, texts)
    if path.is_file():
        return _of_file(name, path, device)
    raise InvalidArgument(
        f"there are no weights at {path}",
        "Give a folder as transformers saves it, or the file of Inception's or LPIPS's state dict.",
    )


def _of_file(name: str, path: Path, device: str) -> Judge:
    with open_checkpoint(path) as checkpoint:
        known = checkpoint.tensors.keys()
    if INCEPTIONS_FIRST in known:
        return Judge(Inception(name, path, device), True, False)
    if LPIPSS_FIRST in known:
        return Judge(Lpips(name, path, device), False, True)
    raise CheckpointError(
        f"{path} is a state dict of neither LPIPS nor Inception: it has neither {LPIPSS_FIRST!r} nor "
        f"{INCEPTIONS_FIRST!r}",
        "Give one of these two, or for other networks a folder as transformers saves it.",
    )
