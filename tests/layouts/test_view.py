"""What a view makes of arrays: the same of numpy's and of torch's, and of the shape that it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsvd_registry.layouts import View
from dsvd_registry.layouts.view import VIEW_KINDS

ONE = np.arange(24).reshape(6, 4)
OTHER = 100 + np.arange(8).reshape(2, 4)
MADE = {
    "reshape": (View(), [ONE], ONE),
    "transpose": (View("transpose"), [ONE], np.array([[row[i] for row in ONE] for i in range(4)])),
    "slice": (View("slice", 2, 3), [ONE], np.array([ONE[2], ONE[3], ONE[4]])),
    "concatenate": (View("concatenate"), [ONE, OTHER], np.array([*ONE, *OTHER])),
}


@pytest.mark.parametrize("kind", VIEW_KINDS)
def test_arrays_of_numpy_and_of_torch_become_the_same(kind: str) -> None:
    view, arrays, wanted = MADE[kind]
    assert view.shape([array.shape for array in arrays]) == wanted.shape
    assert np.array_equal(view.apply(arrays, np.concatenate), wanted)
    tensors = [torch.from_numpy(array) for array in arrays]
    assert np.array_equal(view.apply(tensors, torch.cat).numpy(), wanted)
