"""A result with its floating-point tensors in another dtype (spec, section "Casts")."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from ..checkpoint.dtypes import DELTA_DTYPES
from ..checkpoint.layout import SafetensorsLayout, canonical_layout
from ..checkpoint.model import TensorInfo
from ..codec.exact import CPU, ieee_arithmetic
from ..codec.scratch import Memory, as_tensor, scratch
from ..codec.tensors import TORCH_DTYPES, has_nan, is_finite, round_into
from ..container.records import TensorRecord
from ..errors import InvalidArgument
from ..fs import Bytes
from .assembling import Place, Run, RunsOfTensor, assembled, nowhere
from .reconstruction import Reconstruction, ResultTensor
from .result_layout import own_metadata

CastDtype = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[CastDtype, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


class CastResult:
    """The result of `reconstruction` cast to `dtype`: F32, F16 and BF16 tensors; others as they are.

    Raises `InvalidArgument`, as it is made, for a number that `dtype` has no room for and for a NaN.
    """

    def __init__(self, reconstruction: Reconstruction, dtype: CastDtype) -> None:
        self._reconstruction, self._dtype = reconstruction, DTYPES[dtype]
        infos = (TensorInfo(t.name, self._cast(t), t.shape) for t in reconstruction.records)
        metadata = own_metadata(reconstruction.header, reconstruction.tau)
        self._layout = canonical_layout(infos, {"format": "pt", "dsvd.dtype": dtype, **metadata})

    def layout(self) -> SafetensorsLayout:
        """Everything of the file but its data."""
        return self._layout

    def chunks(self, place: Place = nowhere) -> Generator[Bytes, None, None]:
        """The file from first byte to last, as `Reconstruction.chunks` gives the exact one."""
        prefix = self._layout.prefix
        place(0, memoryview(prefix))
        yield prefix
        tensors = map(self._tensor, self._layout.order)
        with assembled(tensors, len(prefix), place) as made:
            yield from made

    def _cast(self, record: TensorRecord) -> str:
        return self._dtype if record.dtype in DELTA_DTYPES else record.dtype

    def _tensor(self, name: str) -> RunsOfTensor:
        tensor = self._reconstruction.result_tensor(name)
        dtype = self._cast(tensor.record)
        return tensor if dtype == tensor.record.dtype else _CastTensor(tensor, dtype)


class _CastTensor:
    """A tensor of the result, each run of which is cast as soon as it is made."""

    def __init__(self, tensor: ResultTensor, dtype: str) -> None:
        self._tensor = tensor
        self._before, self._after = TORCH_DTYPES[tensor.record.dtype], TORCH_DTYPES[dtype]
        self._dtype = dtype

    def prepare(self) -> None:
        self._tensor.prepare()

    def runs(self) -> Iterator[Run]:
        """Those of the tensor; stored bytes as one run, as they may be cut inside of an element."""
        stored = 0
        for run in self._tensor.runs():
            if run.is_stored:
                stored += run.nbytes
            else:
                yield replace(run, nbytes=self._size(run.nbytes))
        if stored:
            yield Run(0, 1, self._size(stored), is_stored=True)

    def fill(self, run: Run, memory: Memory) -> None:
        if run.is_stored:
            held = np.frombuffer(bytearray(self._tensor.stored()), np.uint8)
        else:
            size = run.nbytes // self._after.itemsize * self._before.itemsize
            held = scratch.memory("not cast", size)
            self._tensor.fill(replace(run, nbytes=size), held)
        values, result = as_tensor(held, (-1,), self._before), as_tensor(memory, (-1,), self._after)
        with ieee_arithmetic(CPU):
            round_into(values, result)
            if has_nan(values):
                raise InvalidArgument(
                    f"tensor {self._tensor.record.name!r} holds a NaN, whose bits no cast defines",
                    "Leave --dtype out.",
                )
            if not is_finite(result) and is_finite(values):
                raise InvalidArgument(
                    f"tensor {self._tensor.record.name!r} has numbers beyond the range of "
                    f"{self._dtype}",
                    "Take bf16 or fp32, or leave --dtype out.",
                )

    def release(self) -> None:
        self._tensor.release()

    def _size(self, nbytes: int) -> int:
        return nbytes // self._before.itemsize * self._after.itemsize
