"""A really trained pair for the tests: a tiny base and a DreamBooth fine-tune of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from demo.checkpoints import untrained
from demo.pictures import Photographed, load_subjects
from demo.small_pipeline import Shape
from demo.training import Plan, class_photographs, fine_tune, train_base, weights_of

SHAPE = Shape(channels=(16, 32, 48), text_width=32, text_layers=1)
BASE = Plan(steps=12, learning_rate=2e-3, batch=8, falls=True)
FINE_TUNE = Plan(steps=12, learning_rate=5e-5, batch=4, seed=42)
SUBJECT = "dog6"

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TrainedPair:
    """The base as a pipeline, the weights of its fine-tune, and the subjects that the base has seen."""

    base: Any
    fine_tuned: Weights
    rest: tuple[Photographed, ...]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: for layers so small, more threads cost far more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def silent(what: str, step: int, steps: int) -> None:
    """Progress that nobody looks at."""


def tuned(base: Any, name: str, plan: Plan) -> Weights:
    """A fine-tune of `base` on one of the subjects, with all others of its class as the prior."""
    subjects = load_subjects()
    (subject,) = (one for one in subjects if one.name == name)
    prior = class_photographs(subject.noun, [one for one in subjects if one.name != name])
    with one_thread():
        return fine_tune(base, subject, prior, plan, SHAPE.side, silent)


@cache
def trained_models() -> TrainedPair:
    """Train once per test run. Take copies of the weights; do not change the models."""
    rest = tuple(one for one in load_subjects() if one.name != SUBJECT)
    base = untrained(SHAPE)
    with one_thread():
        train_base(base, rest, BASE, SHAPE.side, silent)
    return TrainedPair(base, tuned(base, SUBJECT, FINE_TUNE), rest)


def trained_pair() -> tuple[Weights, Weights]:
    """The fp32 weights of the base and of the fine-tune, by name; the caller may change them."""
    pair = trained_models()
    fine_tuned = {name: value.clone() for name, value in pair.fine_tuned.items()}
    return weights_of(pair.base), fine_tuned
