"""Memory that is used again, by one thread and one use at a time; looking for what is not finite."""

from __future__ import annotations

import threading

import pytest
import torch

from dsvd_registry.codec.scratch import HELD_BYTES, Scratch
from dsvd_registry.codec.tensors import has_nan, is_finite, round_into, round_to

from .integers import DTYPES, bits

F32, F64 = torch.float32, torch.float64
INF, NAN = float("inf"), float("nan")


def place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def test_one_use_has_one_memory() -> None:
    scratch = Scratch()
    one = scratch.tensor("a", (10, 20), F32)
    assert (one.shape, one.dtype, one.device.type) == ((10, 20), F32, "cpu")
    assert place(scratch.tensor("a", (50,), F64)) == place(one)
    assert place(scratch.tensor("b", (10, 20), F32)) != place(one)
    assert scratch.tensor("a", (0, 3), F32).shape == (0, 3)


def test_each_thread_has_its_own() -> None:
    scratch = Scratch()
    places = {place(scratch.tensor("a", (1000,), F32))}
    kept = []

    def other() -> None:
        kept.append(scratch.tensor("a", (1000,), F32))
        places.add(place(kept[-1]))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(places) == 2


def test_what_is_large_is_not_kept() -> None:
    scratch = Scratch()
    small = place(scratch.tensor("a", (10,), F32))
    large = scratch.tensor("a", (HELD_BYTES,), F32)
    assert place(large) != small
    assert place(scratch.tensor("a", (10,), F32)) == small


def test_made_in_inference_mode_and_used_outside() -> None:
    scratch = Scratch()
    with torch.inference_mode():
        scratch.tensor("a", (10,), F32).zero_()
    assert scratch.tensor("a", (10,), F32).add_(1.0).sum() == 10
    with torch.device("meta"):
        assert scratch.tensor("a", (10,), F32).add_(1.0).sum() == 20
        assert scratch.tensor("a", (0,), F32).device.type == "cpu"


@pytest.mark.parametrize("dtype", [*DTYPES, F64])
@pytest.mark.parametrize("bad", [None, INF, -INF, NAN])
def test_not_finite_anywhere(dtype: torch.dtype, bad: float | None) -> None:
    values = torch.linspace(-3, 4, 1001).to(dtype)
    if bad is None:
        assert is_finite(values) and not has_nan(values)
        return
    for index in (0, 7, 500, 1000):
        changed = values.clone()
        changed[index] = bad
        assert not is_finite(changed)
        assert has_nan(changed) == (bad != bad)


@pytest.mark.parametrize("dtype", [*DTYPES, F64])
def test_sums_that_are_not_finite_by_themselves(dtype: torch.dtype) -> None:
    largest = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(largest)
    assert not has_nan(torch.tensor([INF, -INF, 1.0], dtype=dtype))
    assert not is_finite(torch.tensor([INF, -INF, 1.0], dtype=dtype))
    assert has_nan(torch.tensor([INF, -INF, NAN], dtype=dtype))
    assert is_finite(torch.empty(0, dtype=dtype))


@pytest.mark.parametrize("source", [F32, F64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_into_a_place(source: torch.dtype, dtype: torch.dtype) -> None:
    """Halfway cases that a direct cast of float64 would round otherwise among them."""
    ties = 1 + torch.arange(1, 4000, dtype=F64) * 2.0**-12 + 2.0**-40
    values = torch.cat([ties, torch.logspace(-45, 4, 5000, dtype=F64)]).to(source)
    out = torch.empty(len(values), dtype=dtype)
    round_into(values, out)
    assert torch.equal(bits(out), bits(round_to(values, dtype)))
