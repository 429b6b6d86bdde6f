"""Weights as other ways of storing a model round them."""

from __future__ import annotations

import pytest
import torch

from dsvd_registry.evaluation.models import Rounding
from dsvd_registry.evaluation.rounding import rounded

ROUNDINGS: tuple[Rounding, ...] = ("fp16", "int8 per channel", "int8 per tensor")


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0,)])
def test_nothing_is_rounded_to_nothing(rounding: Rounding, shape: tuple[int, ...]) -> None:
    assert rounded(torch.empty(shape), rounding).shape == shape
