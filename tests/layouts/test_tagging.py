"""Tagged tensors, compared with real tensors that go through the same operations."""

import math

import pytest
import torch

from dsvd_registry.layouts import View, ViewedTensors
from dsvd_registry.layouts.element_tags import TaggedTensors, copies_are_views

from .reading import viewed

SHAPES = {"vector": (6,), "matrix": (6, 4), "conv": (6, 4, 1, 1), "kernel": (6, 4, 3, 3)}
KEPT = {
    "itself": ("kernel", lambda t: t, View()),
    "copied": ("kernel", lambda t: t.clone().detach().contiguous(), View()),
    "flattened": ("kernel", lambda t: t.reshape(6, 36), View()),
    "convolution to linear layer": ("conv", lambda t: t[:, :, 0, 0], View()),
    "linear layer to convolution": ("matrix", lambda t: t[:, :, None, None], View()),
    "transposed": ("matrix", lambda t: t.T, View("transpose")),
    "transposed and copied": ("matrix", lambda t: t.T.contiguous(), View("transpose")),
    "transposed twice": ("matrix", lambda t: t.t().clone().transpose(0, 1), View()),
    "first rows": ("matrix", lambda t: t[:2, :].clone(), View("slice", 0, 2)),
    "a chunk": ("kernel", lambda t: t.chunk(3)[1], View("slice", 2, 2)),
    "split twice": ("matrix", lambda t: t[2:][1:3], View("slice", 3, 2)),
    "one row": ("matrix", lambda t: t[5], View("slice", 5, 1)),
    "part of a vector": ("vector", lambda t: t[4:], View("slice", 4, 2)),
}
LOST = {
    "another part of a kernel": ("kernel", lambda t: t[:, :, 0, 0]),
    "columns": ("matrix", lambda t: t[:, :2]),
    "half a row": ("matrix", lambda t: t[0, :2]),
    "slice of a transpose": ("matrix", lambda t: t.T[:2]),
    "every other row": ("matrix", lambda t: t[::2]),
    "new numbers": ("matrix", lambda t: t * 2),
    "joined": ("matrix", lambda t: torch.cat([t[3:], t[:3]])),
    "a new tensor": ("matrix", lambda t: torch.eye(len(t))),
    "nothing": ("matrix", lambda t: t[:0]),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_one_view(case):
    name, operation, view = KEPT[case]
    tagged = TaggedTensors(SHAPES)
    with copies_are_views():
        source = tagged.source_of(operation(tagged.tensors[name]))
    assert source == ViewedTensors((name,), view)
    numbers = torch.arange(math.prod(SHAPES[name])).reshape(SHAPES[name])
    result = operation(numbers)
    assert torch.equal(viewed([numbers], view).reshape(result.shape), result)


@pytest.mark.parametrize("case", LOST)
def test_what_is_none(case):
    name, operation = LOST[case]
    tagged = TaggedTensors(SHAPES)
    with copies_are_views():
        assert tagged.source_of(operation(tagged.tensors[name])) is None


def test_a_copy_outside_is_a_new_tensor():
    tagged = TaggedTensors(SHAPES)
    assert tagged.source_of(tagged.tensors["matrix"].clone()) is None


def test_no_memory_is_taken():
    tagged = TaggedTensors({"huge": (1 << 20, 1 << 20), "after": (3,)})
    assert tagged.source_of(tagged.tensors["after"]) == ViewedTensors(("after",))


def test_empty_tensors_and_scalars():
    tagged = TaggedTensors({"empty": (0, 4), "scalar": (), "one": (1,)})
    assert tagged.source_of(tagged.tensors["empty"]) is None
    assert tagged.source_of(tagged.tensors["scalar"]) == ViewedTensors(("scalar",))
    assert tagged.source_of(tagged.tensors["one"]) == ViewedTensors(("one",))
