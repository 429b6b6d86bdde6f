"""Memory that is used again, by one thread and one use at a time; looking for what is not finite."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from dsvd_registry.codec.torch_tensors import as_tensor, is_finite
from dsvd_registry.codec.weights import HELD_BYTES, Scratch

from .integers import DTYPES

F32, F64 = torch.float32, torch.float64
INF, NAN = float("inf"), float("nan")


def tensor(scratch: Scratch, use: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Over an array of the same bytes."""
    memory = scratch.array(use, shape, f"f{dtype.itemsize}")
    assert memory.shape == shape
    return as_tensor(memory.reshape(-1).view(np.uint8), shape, dtype)


def place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def test_one_use_has_one_memory() -> None:
    scratch = Scratch()
    one = tensor(scratch, "a", (10, 20), F32)
    assert (one.shape, one.dtype, one.device.type) == ((10, 20), F32, "cpu")
    assert place(tensor(scratch, "a", (50,), F64)) == place(one)
    assert place(tensor(scratch, "b", (10, 20), F32)) != place(one)
    assert tensor(scratch, "a", (0, 3), F32).shape == (0, 3)


def test_each_thread_has_its_own() -> None:
    scratch = Scratch()
    places = {place(tensor(scratch, "a", (1000,), F32))}
    kept = []

    def other() -> None:
        kept.append(tensor(scratch, "a", (1000,), F32))
        places.add(place(kept[-1]))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(places) == 2


def test_what_is_large_is_not_kept() -> None:
    scratch = Scratch()
    small = place(tensor(scratch, "a", (10,), F32))
    large = tensor(scratch, "a", (HELD_BYTES,), F32)
    assert place(large) != small
    assert place(tensor(scratch, "a", (10,), F32)) == small


def test_made_in_inference_mode_and_used_outside() -> None:
    scratch = Scratch()
    with torch.inference_mode():
        tensor(scratch, "a", (10,), F32).zero_()
    assert tensor(scratch, "a", (10,), F32).add_(1.0).sum() == 10
    with torch.device("meta"):
        assert tensor(scratch, "a", (10,), F32).add_(1.0).sum() == 20
        assert tensor(scratch, "a", (0,), F32).device.type == "cpu"


@pytest.mark.parametrize("dtype", [*DTYPES, F64])
@pytest.mark.parametrize("bad", [None, INF, -INF, NAN])
def test_not_finite_anywhere(dtype: torch.dtype, bad: float | None) -> None:
    values = torch.linspace(-3, 4, 1001).to(dtype)
    if bad is None:
        assert is_finite(values)
        return
    for index in (0, 7, 500, 1000):
        changed = values.clone()
        changed[index] = bad
        assert not is_finite(changed)


@pytest.mark.parametrize("dtype", [*DTYPES, F64])
def test_sums_that_are_not_finite_by_themselves(dtype: torch.dtype) -> None:
    largest = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(largest)
    assert not is_finite(torch.tensor([INF, -INF, 1.0], dtype=dtype))
    assert is_finite(torch.empty(0, dtype=dtype))
