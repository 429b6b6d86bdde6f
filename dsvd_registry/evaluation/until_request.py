"""The request for a tau whose pictures reach a goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..catalog import BaseRecord
from ..encoding.request import DEFAULT_GRID_NOISE
from ..errors import InvalidArgument
from . import prompts
from .goal import Goal
from .live_pipeline import Settings


@dataclass(frozen=True)
class UntilRequest:
    """A request to the pictures of a fine-tune, checked when it is made.

    `source`: the fine-tune. `pipeline`: the base's folder of diffusers. `words`: the place of the
    subject in prompts, such as "sks dog". `prompts`: as in `EvaluationRequest`. `reference`: a folder of
    photographs, for a goal that needs them. `grid_noise`, `keep_noise`, `weights`, `keep_extras`: as in
    `AddOptions`. `extractors`: networks by path, the first of which judges.

    Raises `InvalidArgument`.
    """

    goal: Goal
    source: Path
    base: BaseRecord
    pipeline: Path
    words: str
    prompts: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    settings: Settings = field(default_factory=Settings)
    device: str = "cpu"
    reference: Path | None = None
    grid_noise: float = DEFAULT_GRID_NOISE
    keep_noise: bool = False
    weights: str | None = None
    keep_extras: bool = False
    extractors: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.words:
            raise InvalidArgument(
                "nothing says by what words prompts call the subject",
                "Give them, such as --trigger 'sks dog'.",
            )
        if self.goal.needs_photographs and self.reference is None:
            raise InvalidArgument(
                "share is a measure against photographs, and there are none",
                "Give a folder of them with --reference, or ask for ssim.",
            )
        if len(self.seeds) * len(self.subject_prompts) < 2:
            raise InvalidArgument(
                "one picture alone has no confidence interval", "Give more seeds or more prompts."
            )

    @property
    def noun(self) -> str:
        """The kind of the subject: its words without the rare one."""
        return self.words.partition(" ")[2] or self.words

    @property
    def subject_prompts(self) -> tuple[str, ...]:
        """The prompts that are painted."""
        templates = prompts.templates(self.prompts, self.noun)
        return tuple(prompts.filled(one, self.words) for one in templates)
