"""Torch tensors over existing memory, their devices, and the rounding rule of the format."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InvalidArgument
from .weights import Memory, scratch

TORCH_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}


def as_tensor(memory: Memory, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A CPU tensor over `memory`, which has exactly its bytes, whatever torch's default device is."""
    if not memory.nbytes:
        return torch.empty(shape, dtype=dtype, device="cpu")
    # Through numpy, because a tensor made in a caller's inference mode cannot be used outside of it.
    return torch.from_numpy(memory).view(dtype).reshape(shape)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised CPU tensor with memory of its own.

    numpy allocates it, because numpy asks the system for large pages. Where these are given on
    demand only, the page faults of torch's memory cost more than several passes over the tensor.
    """
    return as_tensor(np.empty(math.prod(shape) * dtype.itemsize, np.uint8), shape, dtype)


def scratch_tensor(use: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised CPU tensor in scratch memory, which overwrites the previous one for this use."""
    return as_tensor(scratch.memory(use, math.prod(shape) * dtype.itemsize), shape, dtype)


def tensor_over(data: memoryview, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A CPU tensor over little-endian C-order bytes, which are copied only if they are not aligned.

    `dtype`: a key of `TORCH_DTYPES`. Do not write to the tensor: torch has no read-only tensors,
    and where `data` is a mapped file, writing would end the process.
    """
    if not len(data):
        return torch.empty(shape, dtype=TORCH_DTYPES[dtype], device="cpu")
    array = np.asarray(_Unguarded(data))
    if array.ctypes.data % TORCH_DTYPES[dtype].itemsize:
        array = array.copy()
    return torch.from_numpy(array).view(TORCH_DTYPES[dtype]).reshape(shape)


class _Unguarded:
    """Memory with numpy's array interface that claims to be writable, and is kept alive."""

    def __init__(self, data: memoryview) -> None:
        array = np.frombuffer(data, np.uint8)
        self.__array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": "|u1",
            "data": (array.ctypes.data, False),
        }
        self._data = data


def tensor_to_bytes(tensor: torch.Tensor) -> memoryview:
    """The little-endian C-order bytes of a CPU tensor, without a copy if it is contiguous."""
    flat = tensor.contiguous().reshape(-1)
    data: npt.NDArray[np.uint8] = flat.view(torch.uint8).numpy()
    return data.data if data.size else memoryview(b"")


def round_to(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """RN_T(RN_f32(RN_f64(x))), the rounding rule of the format (spec, "Reconstruction").

    The step through float32 is explicit, because libraries differ: torch casts float64 to float16
    through float32, numpy does not.
    """
    return values if values.dtype == dtype else values.to(torch.float32).to(dtype)


def is_finite(values: torch.Tensor) -> bool:
    """True if no element is NaN or infinite."""
    # The sum is the fastest test, but it can be infinite for large finite numbers, too.
    return math.isfinite(float(values.sum())) or all(map(math.isfinite, _ends(values)))


def _ends(values: torch.Tensor) -> tuple[float, float]:
    """The least and the largest element; NaN if there is a NaN."""
    least, largest = torch.aminmax(values)
    return float(least), float(largest)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """True if two tensors of one dtype and shape have the same bytes, also of NaNs and zeros."""
    if left.numel() == 0:
        return True
    as_bytes = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right)]
    return torch.equal(*as_bytes)


def check_device(name: str) -> None:
    """Check that torch knows the device and that it is present. Raises `InvalidArgument`."""
    try:
        torch.zeros(1, device=torch.device(name))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidArgument(
            f"the device {name!r} cannot be used: {reason}", "Use cpu."
        ) from error
