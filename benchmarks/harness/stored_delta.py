"""The deltas that a container holds, before they are added to the base and rounded to a dtype."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from dsvd_registry import Registry
from dsvd_registry.codec.exact import Components, DeltaProduct
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import DenseRecord, LowRankRecord, SameRecord
from dsvd_registry.store import ObjectStore, folder


class StoredDeltas:
    """Of one version of a registry, by tensor name."""

    def __init__(self, registry: Path, ref: str) -> None:
        with Registry.open(registry) as opened:
            digest = opened.version(ref).container
        self._container = Container(ObjectStore(folder.open(registry)).path(digest))
        self._index = {t.name: i for i, t in enumerate(self._container.header.tensors)}

    def delta(self, name: str) -> torch.Tensor | None:
        """In fp64, flat; None for a tensor that is stored raw."""
        index = self._index[name]
        record = self._container.header.tensors[index]
        match record:
            case SameRecord():
                return torch.zeros(record.elements, dtype=torch.float64)
            case LowRankRecord():
                a, b = self._container.components(index, record.rank)
                exponents = self._container.table(index).exponents[: record.rank]
                product = DeltaProduct(Components(a, b, exponents))
                return product.tile(0, product.rows).double().reshape(-1)
            case DenseRecord():
                values = torch.from_numpy(self._container.elements(index))
                return values.double() * 2.0**record.exponent
            case _:
                return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._container.close()
