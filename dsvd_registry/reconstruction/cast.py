"""A result with its floating-point tensors in another dtype (spec, section "Casts")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from ..checkpoint.layout import SafetensorsLayout, canonical_layout
from ..checkpoint.tensor_info import DELTA_DTYPES, TensorInfo
from ..errors import DsvdError, InvalidArgument
from .cast_tensor import CastTensor
from .file_plan import Result, RunsOfTensor
from .result_layout import ResultFile

FloatDtype = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[FloatDtype, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


class CastResult:
    """`result` cast to `dtype`: F32, F16 and BF16 tensors; others as they are.

    Raises `InvalidArgument`, as it is made, for a number that `dtype` has no room for and for a NaN.
    """

    def __init__(self, result: Result, dtype: FloatDtype) -> None:
        self._result, self._dtype, self._uncast = result, DTYPES[dtype], result.infos
        self.metadata: Mapping[str, str] = {"dsvd.dtype": dtype, **result.metadata}
        metadata = {"format": "pt", **self.metadata}
        self.files = tuple(
            replace(file, layout=self._layout(file, metadata)) for file in result.files
        )

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """The tensors of all files, by their names in the whole checkpoint."""
        return {name: replace(t, dtype=self._cast(t)) for name, t in self._uncast.items()}

    def _layout(self, file: ResultFile, metadata: Mapping[str, str]) -> SafetensorsLayout:
        own = {name: self._uncast[file.prefix + name] for name in file.layout.order}
        infos = (TensorInfo(name, self._cast(t), t.shape) for name, t in own.items())
        return canonical_layout(infos, metadata)

    def _cast(self, info: TensorInfo) -> str:
        return self._dtype if info.dtype in DELTA_DTYPES else info.dtype

    def result_tensor(self, name: str) -> RunsOfTensor:
        """A tensor that is computed in runs. Raises `KeyError` for an unknown name."""
        tensor, info = self._result.result_tensor(name), self._uncast[name]
        if info.dtype not in DELTA_DTYPES:
            return tensor
        # Even for its own dtype, because it may contain a NaN.
        return _RequestedCast(tensor, info, self._dtype)


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
