"""Checks that a model with a loaded file is the base plus the version's delta."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from layouts.original import State

from dsvd_registry.export import ExportedLora

from .conftest import Subject

SINGLE = 2.0**-23
ROUNDING = {"fp16": 2.0**-11, "fp32": 1e-5}


def check(subject: Subject, found: State, lora: ExportedLora, only: Collection[str] = ()) -> None:
    """Check that every tensor of `found` is the version's, or the base's if the file lacks it.

    The difference may have the file's error and the rounding of fp32 sums. `only`: prefixes.
    """
    left_out = {entry.name for entry in lora.left_out}
    expected = subject.expected(left_out)
    names = [name for name in expected if not only or name.startswith(tuple(only))]
    assert names
    assert found.keys() >= set(names)
    lost = delta = 0.0
    for name in names:
        before, after = subject.base[name].double(), expected[name].double()
        error = float((found[name].double() - after).norm())
        change = float((after - before).norm())
        slack = 8 * SINGLE * float(after.norm())
        assert error <= 4 * ROUNDING[lora.dtype] * change + slack, name
        lost += max(0.0, error - slack) ** 2
        delta += change**2
    assert delta > 0
    bound = math.hypot(lora.cut_error, ROUNDING[lora.dtype]) * whole(subject)
    assert lost**0.5 <= bound


def whole(subject: Subject) -> float:
    """The norm of the version's delta."""
    pairs = ((subject.version[name], subject.base[name]) for name in subject.version)
    return float(sum((a.double() - b.double()).square().sum() for a, b in pairs)) ** 0.5


def distance(left: State, right: State) -> float:
    """The Frobenius norm of the difference of all tensors."""
    return float(torch.stack([(left[n].double() - right[n].double()).norm() for n in left]).norm())
