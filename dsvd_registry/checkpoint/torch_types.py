"""The dtypes of torch by their names in pickles, with the safetensors dtype of each."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class TorchType:
    """A torch dtype: its name, bytes per element, and safetensors name (None: it has none)."""

    name: str
    itemsize: int
    dtype: str | None


_TYPES = (
    TorchType("float64", 8, "F64"),
    TorchType("float32", 4, "F32"),
    TorchType("float16", 2, "F16"),
    TorchType("bfloat16", 2, "BF16"),
    TorchType("complex64", 8, "C64"),
    TorchType("int64", 8, "I64"),
    TorchType("int32", 4, "I32"),
    TorchType("int16", 2, "I16"),
    TorchType("int8", 1, "I8"),
    TorchType("uint64", 8, "U64"),
    TorchType("uint32", 4, "U32"),
    TorchType("uint16", 2, "U16"),
    TorchType("uint8", 1, "U8"),
    TorchType("bool", 1, "BOOL"),
    TorchType("float8_e4m3fn", 1, "F8_E4M3"),
    TorchType("float8_e4m3fnuz", 1, "F8_E4M3FNUZ"),
    TorchType("float8_e5m2", 1, "F8_E5M2"),
    TorchType("float8_e5m2fnuz", 1, "F8_E5M2FNUZ"),
    TorchType("float8_e8m0fnu", 1, "F8_E8M0"),
    # torch counts pairs here, and safetensors elements: the shapes would differ.
    TorchType("float4_e2m1fn_x2", 1, None),
    TorchType("complex128", 16, None),
    TorchType("complex32", 4, None),
    TorchType("qint8", 1, None),
    TorchType("quint8", 1, None),
    TorchType("qint32", 4, None),
    TorchType("quint4x2", 1, None),
    TorchType("quint2x4", 1, None),
    TorchType("bits8", 1, None),
    TorchType("bits16", 2, None),
    TorchType("bits1x8", 1, None),
    TorchType("bits2x4", 1, None),
    TorchType("bits4x2", 1, None),
)
_BY_NAME = {entry.name: entry for entry in _TYPES}

DTYPE_GLOBALS = MappingProxyType({f"torch.{entry.name}": entry for entry in _TYPES})
"""The dtype, by its name in a pickle."""

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}

STORAGE_GLOBALS = MappingProxyType(
    {
        **{
            f"{module}.{storage}": _BY_NAME[name]
            for module in ("torch", "torch.cuda")
            for storage, name in _STORAGES.items()
        },
        "torch.storage.UntypedStorage": _BY_NAME["uint8"],
        "torch.storage._UntypedStorage": _BY_NAME["uint8"],
    }
)
"""The dtype, by the name of a storage class in a pickle, also of torch before 0.4 on CUDA."""
