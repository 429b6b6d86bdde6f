"""A version's tensors for a pipeline, computed on the pipeline's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import torch

from ..checkpoint import TensorInfo
from ..codec.components import Components, Elements
from ..codec.exact_product_torch import DeltaProduct, apply_delta, apply_dense
from ..codec.torch_tensors import TORCH_DTYPES, as_tensor, is_finite
from ..container.delta_decoder import check_lossy_result, decoded_delta
from ..container.reader import Container
from ..container.records import BasedRecord, DeltaRecord
from ..errors import ContainerError
from ..layouts import ViewedTensors
from ..reconstruction.base_weights import BaseReader
from ..reconstruction.lazy_tensors import torch_tensor
from ..reconstruction.reconstruction import Reconstruction
from .pipeline_base import cast


class Maker:
    """A maker of tensors of `container` over `base` at `tau` (default: the stored one).

    Raises as `Reconstruction` does. Several threads may use it.
    """

    def __init__(self, container: Container, base: BaseReader, tau: float | None) -> None:
        self._container = container
        self._tau = container.header.encoding.tau if tau is None else tau
        check_lossy_result(container.header)
        self._reconstruction = Reconstruction(container, base, self._tau)
        self._index = {record.name: i for i, record in enumerate(container.header.tensors)}

    def bits(self, source: ViewedTensors[str], like: torch.Tensor) -> torch.Tensor:
        """The values that a loader of the result would put into the pipeline's tensor `like`.

        Raises `ContainerError` or `BaseMismatch` for damage.
        """
        return cast(self._loaded(source, like.shape, like.device), like)

    def values(
        self, source: ViewedTensors[str], like: TensorInfo, device: torch.device
    ) -> torch.Tensor:
        """The same values for a tensor of this dtype and shape, on `device`. Raises as `bits`."""
        loaded = self._loaded(source, like.shape, device)
        return cast(loaded, torch.empty(0, dtype=TORCH_DTYPES[like.dtype], device=device))

    def _loaded(
        self, source: ViewedTensors[str], shape: Sequence[int], device: torch.device
    ) -> torch.Tensor:
        """The result's values in a pipeline's shape, before they are rounded to its dtype."""
        return source.apply(lambda name: self.result(name, device), torch.cat).reshape(shape)

    def result(self, name: str, device: torch.device) -> torch.Tensor:
        """The result's tensor on `device`, with the same bits on every device."""
        record = self._container.header.tensors[self._index[name]]
        is_computed = isinstance(record, DeltaRecord) and not record.new_rows
        if device.type == "cpu" or not is_computed:
            return torch_tensor(self._reconstruction, name)
        return self.computed(name, device)

    def computed(self, name: str, device: torch.device) -> torch.Tensor:
        """Compute a low-rank or dense tensor without new rows on `device`."""
        index = self._index[name]
        record = self._container.header.tensors[index]
        assert isinstance(record, BasedRecord)
        before, dtype = self._base_of(record).to(device), TORCH_DTYPES[record.dtype]
        delta = decoded_delta(self._container, index, self._tau)
        match delta:
            case Components():
                matrix = before.reshape(delta.a.shape[1], delta.b.shape[1])
                result = torch.empty(matrix.shape, dtype=dtype, device=device)
                apply_delta(matrix, DeltaProduct(delta, device), dtype, result)
            case Elements():
                result = apply_dense(before, delta.values, delta.exponent, dtype)
            case None:
                raise TypeError(f"{name!r} has no delta")
            case _:
                assert_never(delta)
        if not is_finite(result):
            raise ContainerError(
                f"{self._container.name}: tensor {name!r} would hold NaN or infinity"
            )
        return result.reshape(record.shape)

    def _base_of(self, record: BasedRecord) -> torch.Tensor:
        """The counterpart of a tensor in the base, in the shape of the common rows."""
        memory = self._reconstruction.viewed_base(record)
        return as_tensor(memory, record.common_shape, TORCH_DTYPES[record.base[0].dtype])
