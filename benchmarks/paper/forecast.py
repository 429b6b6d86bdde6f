"""An estimate of how long the trainings of a study take, from the first steps of them."""

from __future__ import annotations

import time

from dsvd_registry.progress import Progress

from ..harness.progress import say
from .small_study import SmallRecipe

TRIAL = 20  # steps


def training_steps(recipe: SmallRecipe, bases: int, subjects: int) -> int:
    """The steps of all trainings: of each base, and of each subject its fine-tune and two LoRAs."""
    each = recipe.subjects.plan.steps + 2 * recipe.subjects.lora_plan.steps
    return bases * recipe.base.steps + subjects * each


def forecast(steps: int, progress: Progress) -> Progress:
    """`progress` that also says how long `steps` steps take, once the first of them are done.

    Pictures are not in it.
    """
    times: list[float] = []

    def tell(stage: str, done: int, total: int) -> None:
        if stage.startswith("training") and len(times) <= TRIAL:
            times.append(time.monotonic())
            if len(times) > TRIAL:
                minutes = steps * (times[-1] - times[0]) / TRIAL / 60
                say(
                    f"all {steps:,} steps of training take about {minutes:.0f} minutes at this speed"
                )
        progress(stage, done, total)

    return tell
