"""The deltas in a container, before they are added to the base and rounded to a dtype."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, assert_never

import numpy as np
import numpy.typing as npt
import torch

from dsvd_registry import Registry
from dsvd_registry.codec.components import Components, Elements
from dsvd_registry.codec.exact_product import DeltaProduct
from dsvd_registry.container.delta_decoder import decoded_delta
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import DenseRecord, LowRankRecord, RawRecord, SameRecord
from dsvd_registry.store import ObjectStore, registry_folder


def opened_container(registry: Path, ref: str) -> Container:
    """The open container of a version."""
    with Registry.open(registry) as opened:
        digest = opened.version(ref).container
    return Container(ObjectStore(registry_folder.open(registry)).local_file(digest))


class StoredDeltas:
    """The stored deltas of one version, by tensor name."""

    def __init__(self, registry: Path, ref: str) -> None:
        self._container = opened_container(registry, ref)
        self._index = {t.name: i for i, t in enumerate(self._container.header.tensors)}

    def delta(self, name: str) -> torch.Tensor | None:
        """The delta in fp64, flat; None for a tensor that is stored raw."""
        index = self._index[name]
        record = self._container.header.tensors[index]
        match record:
            case SameRecord():
                return torch.zeros(record.elements, dtype=torch.float64)
            case RawRecord():
                return None
            case LowRankRecord() | DenseRecord():
                return torch.from_numpy(self._decoded(index)).double()
            case _:
                assert_never(record)

    def _decoded(self, index: int) -> npt.NDArray[np.floating]:
        delta = decoded_delta(self._container, index)
        match delta:
            case Components():
                product = DeltaProduct(delta)
                return product.tile(0, product.rows).reshape(-1)
            case Elements():
                return delta.values * np.float64(2.0**delta.exponent)
            case _:
                raise TypeError(f"tensor number {index} has no delta")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._container.close()
