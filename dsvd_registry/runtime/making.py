"""A version's numbers as a pipeline's tensors, made on the device where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..codec.exact import Components, DeltaProduct, apply_delta, apply_dense
from ..codec.tensors import TORCH_DTYPES, is_finite
from ..container.reader import Container
from ..container.records import DenseRecord, LowRankRecord
from ..container.serving import served_rank
from ..errors import ContainerError
from ..layouts import Correspondence, View
from ..reconstruction.base_weights import BaseReader
from ..reconstruction.reconstruction import Reconstruction
from .pipeline_base import cast


class Maker:
    """Makes tensors of `container` over `base` at `tau` (default: the stored one).

    Raises as `Reconstruction`. Several threads may use it.
    """

    def __init__(self, container: Container, base: BaseReader, tau: float | None) -> None:
        self._container = container
        self._stored = container.header.encoding.tau
        self._tau = self._stored if tau is None else tau
        self._reconstruction = Reconstruction(container, base, self._tau)
        self._index = {record.name: i for i, record in enumerate(container.header.tensors)}

    def bits(self, source: Correspondence, like: torch.Tensor) -> torch.Tensor:
        """What a loader of the result would put into the pipeline's tensor `like`.

        Raises `ContainerError` or `BaseMismatch` for damage.
        """
        made = [self.result(name, like.device) for name in source.base]
        return cast(_viewed(made, source.view).reshape(like.shape), like)

    def result(self, name: str, device: torch.device) -> torch.Tensor:
        """The tensor of the result, on `device`: the same bits on each."""
        record = self._container.header.tensors[self._index[name]]
        is_computed = isinstance(record, LowRankRecord | DenseRecord) and not record.new_rows
        if device.type == "cpu" or not is_computed:
            return self._reconstruction.tensor(name)
        return self.computed(name, device)

    def computed(self, name: str, device: torch.device) -> torch.Tensor:
        """A low-rank or dense tensor without new rows, computed on `device`."""
        index = self._index[name]
        record = self._container.header.tensors[index]
        assert isinstance(record, LowRankRecord | DenseRecord)
        base, dtype = (
            self._reconstruction.viewed_base(record).to(device),
            TORCH_DTYPES[record.dtype],
        )
        if isinstance(record, DenseRecord):
            values = self._container.elements(index)
            made = apply_dense(base, values, record.exponent, dtype)
        else:
            table = self._container.table(index)
            rank = served_rank(record, table, self._stored, self._tau)
            components = Components(
                *self._container.components(index, rank), table.exponents[:rank]
            )
            made = torch.empty(record.matrix_shape, dtype=dtype, device=device)
            matrix = base.reshape(record.matrix_shape)
            apply_delta(matrix, DeltaProduct(components, device), dtype, made)
        if not is_finite(made):
            raise ContainerError(
                f"{self._container.path}: tensor {name!r} would hold NaN or infinity"
            )
        return made.reshape(record.shape)


def _viewed(tensors: Sequence[torch.Tensor], view: View) -> torch.Tensor:
    match view.kind:
        case "transpose":
            return tensors[0].T
        case "slice":
            return tensors[0][view.first : view.first + view.rows]
        case "concatenate":
            return torch.cat(list(tensors))
        case _:
            return tensors[0]
