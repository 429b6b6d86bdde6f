"""The models that are compared: where the weights of each come from, and what names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..catalog import BaseRecord

Rounding = Literal["fp16", "int8 per channel", "int8 per tensor"]
"""The rounding of each weight: half precision, or 255 levels for each output channel or tensor."""

BASE = "base"
FINE_TUNE = "fine-tune"
NOISE = "fine-tune in fp16"
AS_STORED = "as stored"
LORA = "LoRA"


@dataclass(frozen=True)
class PipelineWeights:
    """The weights that the pipeline was loaded with."""


@dataclass(frozen=True)
class VersionWeights:
    """The weights that the container of a version gives at a tau; None for the stored one."""

    ref: str
    tau: float | None


@dataclass(frozen=True)
class SourceWeights:
    """The fine-tune itself: a file or folder, or a lossless version, whose weights may be rounded.

    `entry`: the one to use of a torch file that has several.
    """

    source: Path | str
    rounding: Rounding | None = None
    entry: str | None = None


def source_identity(sha256: str, entry: str | None) -> dict[str, object]:
    """The identity of a fine-tune: the digest of its file, and the entry of it, if one was chosen."""
    return {"source": sha256} if entry is None else {"source": sha256, "weights": entry}


@dataclass(frozen=True)
class LoraWeights:
    """A LoRA file over the base."""

    file: Path


@dataclass(frozen=True)
class DraftWeights:
    """The weights that a container at a tau gives, which no registry has."""

    file: Path
    base: BaseRecord
    tau: float


Weights = PipelineWeights | VersionWeights | SourceWeights | LoraWeights | DraftWeights


@dataclass(frozen=True)
class Model:
    """One model of a subject.

    `label`: its row in tables. `identity`: what its weights are, by content; pictures are cached by it.
    `size`: the bytes that it takes in addition to the base. `tau`: that of a version.
    """

    label: str
    weights: Weights
    identity: Mapping[str, object]
    size: int
    tau: float | None = None


@dataclass(frozen=True)
class Subject:
    """One version that is evaluated.

    `words`: its place in prompts, such as "sks dog". `noun`: what it is, such as "dog". `prompts`: what
    is painted, `plain_prompts`: the same without the rare word. `photographs`: None without a
    reference. `models`: the base first, then the fine-tune. `remark`: what must be said of the
    fine-tune.
    """

    ref: str
    words: str
    noun: str
    prompts: tuple[str, ...]
    plain_prompts: tuple[str, ...]
    photographs: Path | None
    models: tuple[Model, ...]
    remark: str = ""
