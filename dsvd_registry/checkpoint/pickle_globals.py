"""The functions that a torch pickle may call, and the values that stand for their results.

Nothing here calls torch: each function takes the pickled arguments and returns plain data, a
`TensorRef` or an `UnreadableTensor`. The meanings are those of torch/_utils.py and
torch/_tensor.py (2.13).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from ..errors import CheckpointError
from .checkpoint import MAX_DIMENSIONS
from .pickle_values import Global, Placeholder, StorageRef, TensorRef, UnreadableTensor
from .torch_types import DTYPE_GLOBALS, STORAGE_GLOBALS, TorchType

Arguments = tuple[object, ...]
Rebuild = Callable[[Arguments], object]

MAX_NUMBER = 2**63  # exclusive, for offsets and strides


def storage_ref(saved: object) -> StorageRef | Placeholder:
    """The value of a persistent id: a storage, or the class of a pickled module.

    Raises `CheckpointError` for any other.
    """
    if isinstance(saved, tuple) and saved:
        if saved[0] == "storage" and len(saved) in (5, 6):
            _, storage_class, key, _, elements, *view = saved
            if isinstance(storage_class, Global) and storage_class.name in STORAGE_GLOBALS:
                kind = STORAGE_GLOBALS[storage_class.name]
                count = _number(elements)
                return StorageRef(_text(key), kind, count, *_view(view, count))
        if saved[0] == "module" and len(saved) == 4 and isinstance(saved[1], Global):
            return Placeholder(saved[1].name)
    raise CheckpointError("its pickle refers to a storage in an unknown way")


def _view(view: list[object], count: int) -> tuple[int, int]:
    if not view or view[0] is None:
        return 0, count
    if not isinstance(view[0], tuple) or len(view[0]) != 3:
        raise CheckpointError("its pickle refers to a part of a storage in an unknown way")
    _, first, length = view[0]
    return _number(first), _number(length)


def _rebuild_tensor(arguments: Arguments) -> object:
    storage, offset, shape, strides = arguments[:4]
    return _tensor(storage, None, offset, shape, strides, [])


def _rebuild_tensor_v2(arguments: Arguments) -> object:
    storage, offset, shape, strides, _, _, *metadata = arguments
    return _tensor(storage, None, offset, shape, strides, metadata)


def _rebuild_tensor_v3(arguments: Arguments) -> object:
    storage, offset, shape, strides, _, _, dtype, *metadata = arguments
    if not isinstance(dtype, Global) or dtype.name not in DTYPE_GLOBALS:
        return UnreadableTensor("a tensor of an unknown dtype")
    return _tensor(storage, DTYPE_GLOBALS[dtype.name], offset, shape, strides, metadata)


def _tensor(
    storage: object,
    kind: TorchType | None,
    offset: object,
    shape: object,
    strides: object,
    metadata: list[object],
) -> object:
    if not isinstance(storage, StorageRef):
        raise CheckpointError("its pickle has a tensor without a storage")
    kind = storage.kind if kind is None else kind
    if len(metadata) > 1:
        raise ValueError("too many arguments")
    if any(metadata):
        # The conjugate and negative bits: the stored numbers are not those of the tensor.
        return UnreadableTensor("a lazily conjugated or negated tensor")
    if kind.dtype is None:
        return UnreadableTensor(f"a tensor of dtype torch.{kind.name}, which safetensors lacks")
    return TensorRef(storage, kind, _number(offset), _numbers(shape), _numbers(strides))


def _parameter(arguments: Arguments) -> object:
    return arguments[0]


def _from_type(arguments: Arguments) -> object:
    """A tensor with Python attributes, or of a subclass: (rebuild, class, arguments, state)."""
    rebuild, tensor_class, inner, _ = arguments
    if not isinstance(tensor_class, Global) or not isinstance(inner, tuple):
        raise CheckpointError("its pickle has a tensor of no class")
    if tensor_class.name not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        return UnreadableTensor(f"a tensor of the class {tensor_class.name}")
    if not isinstance(rebuild, Global) or rebuild.name not in _STRIDED:
        return UnreadableTensor("a tensor that is rebuilt in an unknown way")
    return _STRIDED[rebuild.name](inner)


def _unreadable(reason: str) -> Rebuild:
    return lambda _: UnreadableTensor(reason)


def _opaque(name: str) -> Rebuild:
    return lambda _: Placeholder(name)


def _sequence(arguments: Arguments) -> list[object]:
    if not arguments:
        return []
    (items,) = arguments
    if not isinstance(items, list | tuple):
        raise ValueError("not a sequence")
    return list(items)


def _mapping(arguments: Arguments) -> dict[object, object]:
    # Python 2 gives the items of an OrderedDict here, and pickles its keys as plain strings.
    pairs = _sequence(arguments)
    result: dict[object, object] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError("not a list of pairs")
        result[pair[0]] = pair[1]
    return result


def _encode(arguments: Arguments) -> bytes:
    """Decode the bytes of a pickle before protocol 3, which are latin-1 text there."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("not latin-1")
    return text.encode("latin-1")


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < MAX_NUMBER:
        raise CheckpointError("its pickle has a tensor with a size, offset or stride out of range")
    return value


def _numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple | list):
        raise CheckpointError("its pickle has a tensor without a shape or strides")
    if len(values) > MAX_DIMENSIONS:
        raise CheckpointError(f"its pickle has a tensor of {len(values)} dimensions")
    return tuple(_number(value) for value in values)


def _text(value: object) -> str:
    # Files of torch before 0.4 number their storages.
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise CheckpointError("its pickle has a storage whose key is not a string")


_STRIDED: MappingProxyType[str, Rebuild] = MappingProxyType(
    {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    }
)

REBUILD: MappingProxyType[str, Rebuild] = MappingProxyType(
    {
        **_STRIDED,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._tensor._rebuild_from_type_v2": _from_type,
        "torch._utils._rebuild_sparse_tensor": _unreadable("a sparse tensor"),
        "torch._utils._rebuild_qtensor": _unreadable("a quantised tensor"),
        "torch._utils._rebuild_nested_tensor": _unreadable("a nested tensor"),
        "torch._utils._rebuild_meta_tensor_no_storage": _unreadable("a meta tensor without data"),
        "torch._utils._rebuild_device_tensor_from_numpy": _unreadable("a tensor saved via numpy"),
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": _unreadable(
            "a tensor of a device without storages"
        ),
        "torch._utils._rebuild_wrapper_subclass": _unreadable("a wrapper of other tensors"),
        "torch.Size": lambda arguments: tuple(_sequence(arguments)),
        "torch.device": _opaque("torch.device"),
        "torch.serialization._get_layout": _opaque("torch.layout"),
        "collections.OrderedDict": _mapping,
        "collections.defaultdict": lambda _: {},
        "builtins.set": _sequence,
        "builtins.frozenset": lambda arguments: tuple(_sequence(arguments)),
        "builtins.bytes": lambda arguments: Placeholder("builtins.bytes") if arguments else b"",
        "builtins.bytearray": _opaque("builtins.bytearray"),
        "builtins.complex": _opaque("builtins.complex"),
        "_codecs.encode": _encode,
    }
)
"""The result of a call, by the function's name. Each raises `ValueError` or `CheckpointError` for
arguments that it does not take, and `ValueError` or `IndexError` for a wrong number of them."""

KNOWN_NAMES = frozenset(
    {
        *REBUILD,
        *DTYPE_GLOBALS,
        *STORAGE_GLOBALS,
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "torch.per_tensor_affine",
        "torch.per_channel_affine",
        "torch.per_channel_affine_float_qparams",
        # The default factories of a defaultdict.
        "builtins.dict",
        "builtins.list",
        "builtins.int",
        "builtins.float",
    }
)
"""The names of classes and functions that are not reported as unknown."""
