"""A recipe of the paper's small study that takes seconds: a smaller model, hardly trained."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.paper.small_study import SMALL
from demo.small_pipeline import Shape
from demo.training import Plan

_SHORT = Plan(2, 1e-3, batch=4)
RECIPE = replace(
    SMALL,
    shape=Shape(channels=(16, 32, 48), text_width=32, text_layers=1, side=32),
    base=_SHORT,
    subjects=replace(SMALL.subjects, plan=_SHORT, lora_plan=_SHORT, side=32),
)
