"""Maps of names, applied to real tensors."""

import torch

from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.layouts import NameMap, View, map_names

from .original import State

DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}


def infos(state: State) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name, DTYPES[tensor.dtype], tuple(tensor.shape))
        for name, tensor in state.items()
    }


def viewed(tensors: list[torch.Tensor], view: View) -> torch.Tensor:
    match view.kind:
        case "reshape":
            return tensors[0]
        case "transpose":
            return tensors[0].T.contiguous()
        case "slice":
            return tensors[0][view.first : view.first + view.rows]
        case "concatenate":
            return torch.cat(tensors)
        case "roll":
            return torch.roll(tensors[0], -view.first, 0)


def mapped(base: State, fine_tune: State) -> NameMap:
    """The map, after a check that each of its views of `base` has the bits of `fine_tune`."""
    names = map_names(infos(base), infos(fine_tune))
    listed = [c.tensor for c in names.correspondences] + [u.tensor for u in names.unmatched]
    assert sorted(listed) == sorted(fine_tune)
    for found in names.correspondences:
        tensor = fine_tune[found.tensor]
        made = viewed([base[name] for name in found.base.tensors], found.base.view)
        assert made.dtype == tensor.dtype, found
        assert torch.equal(made.reshape(tensor.shape), tensor), found
    return names
