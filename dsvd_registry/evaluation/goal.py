"""Goals: what the pictures by a version must reach, as `dsvd add --until` has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidArgument
from . import columns
from .columns import Column
from .extractors.judges import Judges

Measure = Literal["ssim", "cosine", "share"]

_FORM = re.compile(r"\s*(ssim|cosine|share)\s*>=\s*([01]|[01]?\.[0-9]{1,6})\s*")


@dataclass(frozen=True)
class Goal:
    """A measure and the least value that it must surely have, in (0, 1].

    `measure`: "ssim" and "cosine" against the fine-tune's own picture of the same prompt and seed;
    "share", what is kept of the fine-tune's gain in likeness to photographs.
    """

    measure: Measure
    least: float

    def __str__(self) -> str:
        return f"{self.measure}>={self.least:g}"

    @property
    def needs_photographs(self) -> bool:
        """True for a measure against photographs."""
        return self.measure == "share"

    @property
    def needs_features(self) -> bool:
        """True for a measure by an extractor."""
        return self.measure != "ssim"

    def column(self, judges: Judges) -> Column:
        """The column of the measure, by the first extractor.

        Raises `InvalidArgument` if the measure needs an extractor and there is none.
        """
        if not self.needs_features:
            key = columns.SSIM
        elif not judges.loaded:
            raise InvalidArgument(
                f"{self.measure} needs an extractor: {'; '.join(judges.missing.values())}",
                "Install it with `pip install 'dsvd-registry[evaluate]'`, or ask for ssim.",
            )
        else:
            name = judges.loaded[0].extractor.name
            is_share = self.needs_photographs
            key = columns.similarity_key(name) if is_share else columns.cosine_key(name)
        every = columns.columns(judges, has_photographs=self.needs_photographs)
        return next(column for column in every if column.key == key)


def goal_of(text: str) -> Goal:
    """The goal that a text such as "ssim>=0.95" states.

    Raises `InvalidArgument` for another form, and for a value outside (0, 1].

    Example:
        >>> goal_of("share>=0.98")
        Goal(measure='share', least=0.98)
    """
    found = _FORM.fullmatch(text)
    least = float(found[2]) if found else 0.0
    if not found or not 0 < least <= 1:
        raise InvalidArgument(
            f"{text!r} is not a goal for pictures",
            "Give ssim, cosine or share with its least value, above 0 and up to 1: 'ssim>=0.95'.",
        )
    measure: Measure = found[1]  # type: ignore[assignment]  # one of the three in _FORM
    return Goal(measure, least)
