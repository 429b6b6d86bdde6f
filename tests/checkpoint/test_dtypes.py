import pytest
import torch
from safetensors.torch import _SIZE, _TYPES

from dsvd_registry.checkpoint.tensor_info import BITS, DELTA_DTYPES, tensor_bytes
from dsvd_registry.checkpoint.torch_types import DTYPE_GLOBALS
from dsvd_registry.errors import CheckpointError


def test_bits_agree_with_safetensors():
    assert {name: BITS[name] // 8 for name in _TYPES} == {
        name: _SIZE[dtype] for name, dtype in _TYPES.items()
    }


def test_names_of_torch_dtypes_agree_with_safetensors_and_torch():
    ours = {entry.dtype: getattr(torch, entry.name) for entry in DTYPE_GLOBALS.values()}
    assert {name: ours[name] for name in _TYPES} == _TYPES
    for entry in DTYPE_GLOBALS.values():
        assert getattr(torch, entry.name).itemsize == entry.itemsize
        assert entry.dtype is None or BITS[entry.dtype] == 8 * entry.itemsize


def test_delta_dtypes_are_known():
    assert set(DELTA_DTYPES) <= set(BITS)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F32", (2, 3), 24),
        ("BF16", (), 2),
        ("F64", (0, 5), 0),
        ("F4", (2, 3), 3),
        ("F6_E2M3", (4,), 3),
        ("F8_E8M0", (7,), 7),
    ],
)
def test_tensor_bytes(dtype, shape, size):
    assert tensor_bytes(dtype, shape) == size


def test_a_tensor_that_ends_inside_a_byte_is_refused():
    with pytest.raises(CheckpointError, match="not a whole number of bytes"):
        tensor_bytes("F4", (3,))


def test_an_unknown_dtype_is_refused():
    with pytest.raises(CheckpointError, match="'C128' is unknown"):
        tensor_bytes("C128", (1,))
