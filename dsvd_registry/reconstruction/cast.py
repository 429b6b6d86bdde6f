"""A result with its floating-point tensors in another dtype (spec, section "Casts")."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Literal, Protocol

from ..checkpoint.dtypes import DELTA_DTYPES
from ..checkpoint.layout import SafetensorsLayout, canonical_layout
from ..checkpoint.tensor_info import TensorInfo
from ..errors import DsvdError, InvalidArgument
from ..fs import Bytes
from .cast_tensor import CastTensor
from .file_assembly import RunsOfTensor, file_bytes, nowhere
from .result_layout import Files, Place, ResultFile

FloatDtype = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[FloatDtype, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


class Uncast(Files, Protocol):
    """A result whose tensors can each be computed by themselves."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...

    def result_tensor(self, name: str) -> RunsOfTensor: ...


class CastResult:
    """`result` cast to `dtype`: F32, F16 and BF16 tensors; others as they are.

    Raises `InvalidArgument`, as it is made, for a number that `dtype` has no room for and for a NaN.
    """

    def __init__(self, result: Uncast, dtype: FloatDtype) -> None:
        self._result, self._dtype, self._infos = result, DTYPES[dtype], result.infos
        metadata = {"format": "pt", "dsvd.dtype": dtype, **result.metadata}
        self.files = tuple(
            replace(file, layout=self._layout(file, metadata)) for file in result.files
        )

    def chunks(self, file: ResultFile, place: Place = nowhere) -> Generator[Bytes, None, None]:
        """One of `files` from first byte to last, as `Reconstruction.chunks` gives the exact one."""
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
        return _RequestedCast(
            tensor, info, self._dtype
        )  # even for its own dtype: it may contain a NaN


class _RequestedCast(CastTensor):
    """A tensor of the result in the dtype of a request."""

    memory = "not cast"

    def nan(self) -> DsvdError:
        return InvalidArgument(
            f"tensor {self.info.name!r} holds a NaN, for which no cast is defined",
            "Leave --dtype out.",
        )

    def beyond(self) -> DsvdError:
        return InvalidArgument(
            f"tensor {self.info.name!r} has numbers beyond the range of {self.dtype}",
            "Use --dtype bf16 or fp32, or leave --dtype out.",
        )
