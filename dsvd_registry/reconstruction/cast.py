"""Casts of a result's floating-point tensors to another dtype (spec, section "Casts")."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from ..checkpoint.dtypes import BITS, DELTA_DTYPES
from ..checkpoint.layout import SafetensorsLayout, canonical_layout
from ..checkpoint.tensor_info import TensorInfo
from ..codec.exact_product import cast
from ..codec.scratch import Memory, scratch
from ..codec.weights import Weights
from ..errors import InvalidArgument
from ..fs import Bytes
from .file_assembly import Run, RunsOfTensor, file_bytes, nowhere
from .result_layout import Files, Place, ResultFile

FloatDtype = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[FloatDtype, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


class Uncast(Files, Protocol):
    """A result in its own dtypes, with access to single tensors."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...

    def result_tensor(self, name: str) -> UncastTensor: ...


class UncastTensor(RunsOfTensor, Protocol):
    """A tensor that is computed in runs, with its stored bytes in one piece."""

    def stored(self) -> bytes: ...


class CastResult:
    """A result whose F32, F16 and BF16 tensors are cast to `dtype`; other tensors stay as they are.

    `chunks` raises `InvalidArgument` for a NaN, and for a number beyond the range of `dtype`.
    """

    def __init__(self, result: Uncast, dtype: FloatDtype) -> None:
        self._result, self._dtype, self._infos = result, DTYPES[dtype], result.infos
        metadata = {"format": "pt", "dsvd.dtype": dtype, **result.metadata}
        self.files = tuple(
            replace(file, layout=self._layout(file, metadata)) for file in result.files
        )

    def chunks(self, file: ResultFile, place: Place = nowhere) -> Generator[Bytes, None, None]:
        """The bytes of one of `files`, in order, under the rules of `Reconstruction.chunks`."""
        return file_bytes(file.layout, lambda name: self._tensor(file.prefix + name), place)

    def _layout(self, file: ResultFile, metadata: Mapping[str, str]) -> SafetensorsLayout:
        own = {name: self._infos[file.prefix + name] for name in file.layout.order}
        infos = (TensorInfo(name, self._cast(t), t.shape) for name, t in own.items())
        return canonical_layout(infos, metadata)

    def _cast(self, info: TensorInfo) -> str:
        return self._dtype if info.dtype in DELTA_DTYPES else info.dtype

    def _tensor(self, name: str) -> RunsOfTensor:
        tensor, info = self._result.result_tensor(name), self._infos[name]
        if info.dtype not in DELTA_DTYPES:
            return tensor
        return _CastTensor(
            tensor, info, self._dtype
        )  # even for its own dtype: it may contain a NaN


class _CastTensor:
    """A tensor of the result whose runs are cast as they are computed."""

    def __init__(self, tensor: UncastTensor, info: TensorInfo, dtype: str) -> None:
        self._tensor, self._name = tensor, info.name
        self._before, self._after = info.dtype, dtype
        self._widths = BITS[info.dtype] // 8, BITS[dtype] // 8

    def prepare(self) -> None:
        self._tensor.prepare()

    def runs(self) -> Iterator[Run]:
        """The tensor's runs, with all stored bytes in one: their runs may end inside an element."""
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
            uncast = np.frombuffer(bytearray(self._tensor.stored()), np.uint8)
        else:
            before, after = self._widths
            size = run.nbytes // after * before
            uncast = scratch.memory("not cast", size)
            self._tensor.fill(replace(run, nbytes=size), uncast)
        values = Weights.over(uncast, (-1,), self._before)
        result = Weights.over(memory, (-1,), self._after)
        cast(values, result)
        if values.has_nan():
            raise InvalidArgument(
                f"tensor {self._name!r} holds a NaN, for which no cast is defined",
                "Leave --dtype out.",
            )
        # An infinity stays one: more of them than before are finite numbers that became infinite.
        if not result.is_finite() and result.infinities() > values.infinities():
            raise InvalidArgument(
                f"tensor {self._name!r} has numbers beyond the range of {self._after}",
                "Use --dtype bf16 or fp32, or leave --dtype out.",
            )

    def release(self) -> None:
        self._tensor.release()

    def _size(self, nbytes: int) -> int:
        before, after = self._widths
        return nbytes // before * after
