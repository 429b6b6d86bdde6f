"""Views of arrays: the same numbers with numpy and with torch, in the shape that the view gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.layouts import View, ViewedTensors
from dsvd_registry.layouts.view import VIEW_KINDS

ONE = np.arange(24).reshape(6, 4)
OTHER = 100 + np.arange(8).reshape(2, 4)
MADE = {
    "reshape": (View(), [ONE], ONE),
    "transpose": (View("transpose"), [ONE], np.array([[row[i] for row in ONE] for i in range(4)])),
    "slice": (View("slice", 2, 3), [ONE], np.array([ONE[2], ONE[3], ONE[4]])),
    "concatenate": (View("concatenate"), [ONE, OTHER], np.array([*ONE, *OTHER])),
    "roll": (View("roll", 2), [ONE], np.array([ONE[i] for i in (2, 3, 4, 5, 0, 1)])),
}


@pytest.mark.parametrize("kind", VIEW_KINDS)
def test_arrays_of_numpy_and_of_torch_become_the_same(kind: str) -> None:
    view, arrays, wanted = MADE[kind]
    assert view.shape([array.shape for array in arrays]) == wanted.shape
    assert np.array_equal(view.apply(arrays, np.concatenate), wanted)
    tensors = [torch.from_numpy(array) for array in arrays]
    assert np.array_equal(view.apply(tensors, torch.cat).numpy(), wanted)


@pytest.mark.parametrize("kind", VIEW_KINDS)
def test_viewed_tensors_by_name(kind: str) -> None:
    view, arrays, wanted = MADE[kind]
    by_name = {f"tensor {number}": array for number, array in enumerate(arrays)}
    infos = {name: TensorInfo(name, "I64", array.shape) for name, array in by_name.items()}
    viewed = ViewedTensors(tuple(by_name), view)
    assert viewed.resolve(infos) == ViewedTensors(tuple(infos.values()), view)
    assert viewed.resolve(infos).shape == wanted.shape
    assert np.array_equal(viewed.apply(by_name.__getitem__, np.concatenate), wanted)
    tensors = {name: torch.from_numpy(array) for name, array in by_name.items()}
    assert np.array_equal(viewed.apply(tensors.__getitem__, torch.cat).numpy(), wanted)


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(KeyError, match="there"):
        ViewedTensors(("there",)).resolve({"here": 1})
