"""An open base as the source of a pipeline's tensors: the exact bits of each when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..checkpoint import TensorInfo
from ..checkpoint.tensor_info import tensor_bytes
from ..closing import Closing
from ..codec.arithmetic import subnormals_kept
from ..codec.exact_product_torch import one_thread_each
from ..codec.torch_tensors import TORCH_DTYPES, as_tensor
from ..reconstruction.base_view import ViewedBase
from ..reconstruction.base_weights import BaseWeights
from .content import Content, content_of
from .pipeline_sources import find_sources


class PipelineBase(Closing):
    """The base `weights`, for a pipeline with the tensors `pipeline`.

    Every tensor is read from the base's file at each use, and compared with its SHA-256. Closing
    this closes `weights`. Raises `BaseMismatch` for weights of another family.
    """

    def __init__(self, weights: BaseWeights, pipeline: Mapping[str, TensorInfo]) -> None:
        self.weights, self.pipeline = weights, pipeline
        try:
            self.sources = find_sources(weights.tensors, pipeline, f"the base {weights.name!r}")
        except BaseException:
            weights.close()
            raise

    def close(self) -> None:
        self.weights.close()

    def content(self, name: str) -> Content | None:
        """The content of the pipeline's tensor `name` in the base; None if the base lacks it."""
        source = self.sources.get(name)
        if source is None:
            return None
        return content_of(source.resolve(self.weights.tensors))

    def bits(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """The values that a loader of the base would put into the pipeline's tensor `name`.

        `like`: that tensor, for its dtype, device and shape. Raises `BaseMismatch` if the base is
        damaged, `KeyError` if it lacks the tensor.
        """
        source = self.sources[name].resolve(self.weights.tensors)
        dtype, shape = source.tensors[0].dtype, tuple(like.shape)
        memory = np.empty(tensor_bytes(dtype, shape), np.uint8)
        viewed = ViewedBase(source, self.weights)
        viewed.copy(0, memory)
        viewed.release()
        return cast(as_tensor(memory, shape, TORCH_DTYPES[dtype]), like)


def cast(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Convert values to the dtype and device of `like`, rounded as a loader rounds them."""
    # The device of `like` is faster. The caller's flushing of subnormal numbers is switched off; no
    # setting of the process is changed, because the pipeline may run in another thread.
    with one_thread_each, subnormals_kept(), torch.no_grad():
        return values.to(like.device).to(like.dtype)
