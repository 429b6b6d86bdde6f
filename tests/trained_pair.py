"""A really trained pair for the tests: a tiny base and a DreamBooth fine-tune of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch

from demo.pictures import Photograph, Vocabulary, load_photographs
from demo.training import ModelConfig, Plan, TinyDiffusion, fine_tune, pretrain

CONFIG = ModelConfig(channels=(16, 32, 48), text_width=32, text_layers=1)
PRETRAIN = Plan(steps=12, learning_rate=2e-3, batch=8)
FINE_TUNE = Plan(steps=12, learning_rate=5e-5, batch=4, seed=42)
SUBJECT = "dog6"

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TrainedPair:
    """Both models, and the photographs that the base has seen."""

    base: TinyDiffusion
    fine_tuned: TinyDiffusion
    photographs: list[Photograph]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: for layers so small, more threads cost far more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def trained_models() -> TrainedPair:
    """Train once per test run. Take copies of the weights; do not change the models."""
    photographs = load_photographs()
    rest = [photograph for photograph in photographs if photograph.subject != SUBJECT]
    ours = [photograph for photograph in photographs if photograph.subject == SUBJECT]
    dogs = [photograph for photograph in rest if photograph.kind == "dog"]
    with one_thread():
        base = pretrain(rest, Vocabulary(photographs), CONFIG, PRETRAIN)
        return TrainedPair(base, fine_tune(base, ours, dogs, FINE_TUNE), rest)


def trained_pair() -> tuple[Weights, Weights]:
    """The fp32 weights of the base and of the fine-tune, by name; the caller may change them."""
    pair = trained_models()
    return pair.base.weights(), pair.fine_tuned.weights()
