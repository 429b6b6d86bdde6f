import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.torch import load

from dsvd_registry.checkpoint import TensorInfo
from dsvd_registry.checkpoint.layout import canonical_layout, derived_layout
from dsvd_registry.checkpoint.safetensors_file import parse_header
from dsvd_registry.checkpoint.tensor_info import BITS
from dsvd_registry.errors import CheckpointError


def header_of(layout):
    (length,) = struct.unpack("<Q", layout.prefix[:8])
    assert len(layout.prefix) == 8 + length and len(layout.prefix) % 8 == 0
    return layout.prefix[8:]


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_canonical_bytes_are_exactly_these():
    layout = canonical_layout(
        [
            TensorInfo("z", "U8", (3,)),
            TensorInfo("é\n", "F16", (1,)),
            TensorInfo("b", "F32", (1, 2)),
            TensorInfo("a", "F16", ()),
            TensorInfo("c", "I64", (1,)),
        ],
        {"é": "1", "z": '"', "a": "x"},
    )
    text = (
        '{"__metadata__":{"a":"x","z":"\\"","é":"1"},'
        '"c":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},'
        '"b":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},'
        '"a":{"dtype":"F16","shape":[],"data_offsets":[16,18]},'
        '"é\\n":{"dtype":"F16","shape":[1],"data_offsets":[18,20]},'
        '"z":{"dtype":"U8","shape":[3],"data_offsets":[20,23]}}'
    ).encode()
    padded = text + b" " * (-len(text) % 8)
    assert layout.prefix == struct.pack("<Q", len(padded)) + padded
    assert layout.order == ("c", "b", "a", "é\n", "z")
    assert layout.size == len(layout.prefix) + 23


def test_without_metadata_there_is_no_metadata_key():
    assert header_of(canonical_layout([], {})) == b"{}      "
    assert header_of(derived_layout(b'{"__metadata__":{}}', {})) == b"{}      "


def test_names_sort_by_their_utf8_bytes():
    # U+FFFF is three bytes and U+10000 four, though UTF-16 orders them the other way.
    names = ["\U00010000", "\uffee", "b", "B"]
    layout = canonical_layout([TensorInfo(name, "U8", (1,)) for name in names], {})
    assert layout.order == ("B", "b", "\uffee", "\U00010000")


def test_derived_bytes_are_exactly_these():
    source = (
        b'{"b": {"dtype":"F16", "shape":[3], "data_offsets":[4,10]}, '
        b'"__metadata__": {"sshs_model_hash":"1","title":"t","dsvd.tau":"9","a":"\\u00e9",'
        b'"modelspec.hash_sha256":"2","sshs_legacy_hash":"3"},'
        b'"a": {"data_offsets":[0,4],"dtype":"F32","shape":[]}}   \n'
    )
    layout = derived_layout(source, {"dsvd.tau": "0.5", "dsvd.container": "c"})
    text = (
        '{"__metadata__":{"title":"t","a":"é","dsvd.container":"c","dsvd.tau":"0.5"},'
        '"b":{"dtype":"F16","shape":[3],"data_offsets":[4,10]},'
        '"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
    ).encode()
    assert header_of(layout) == text + b" " * (-len(text) % 8)
    assert layout.order == ("a", "b")
    assert layout.size == len(layout.prefix) + 10


def test_a_given_key_replaces_the_key_of_the_source():
    layout = derived_layout(b'{"__metadata__":{"format":"pt","x":"y"}}', {"format": "np"})
    assert header_of(layout).rstrip() == b'{"__metadata__":{"x":"y","format":"np"}}'


def test_derived_from_an_invalid_header_is_refused():
    with pytest.raises(CheckpointError, match="hole"):
        derived_layout(json.dumps({"a": entry("U8", [1], 1, 2)}).encode(), {})


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([TensorInfo("a", "U8", (1,))] * 2, "two tensors of the name 'a'"),
        ([TensorInfo("a", "C128", (1,))], "unknown"),
        ([TensorInfo("", "U8", (1,))], "0 bytes"),
        ([TensorInfo("a", "U8", (1,) * 33)], "33 dimensions"),
    ],
)
def test_canonical_refuses(tensors, message):
    with pytest.raises(CheckpointError, match=message):
        canonical_layout(tensors, {})


LIBRARY_DTYPES = ["F64", "F32", "F16", "BF16", "I16", "U8", "BOOL", "F8_E4M3", "C64"]
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
TENSORS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
        lambda name: name != "__metadata__"
    ),
    st.tuples(st.sampled_from(LIBRARY_DTYPES), SHAPES),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(TENSORS, st.dictionaries(st.sampled_from("abé"), st.sampled_from(["", '"\\', "\u2028"])))
def test_the_safetensors_library_reads_both_layouts(tensors, metadata):
    infos = [TensorInfo(name, dtype, shape) for name, (dtype, shape) in tensors.items()]
    layout = canonical_layout(infos, metadata)
    data = {info.name: bytes(index % 2 for index in range(info.nbytes)) for info in infos}
    for either in (layout, derived_layout(header_of(layout), {"dsvd.x": "y"})):
        assert either.order == layout.order
        file = either.prefix + b"".join(data[name] for name in either.order)
        assert len(file) == either.size
        read = {
            name: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for name, t in deserialize(file)
        }
        assert read == {i.name: (i.dtype, i.shape, data[i.name]) for i in infos}
        assert set(load(file)) == set(tensors)


@settings(max_examples=50, deadline=None)
@given(TENSORS)
def test_every_tensor_is_aligned_for_its_dtype(tensors):
    layout = canonical_layout([TensorInfo(n, d, s) for n, (d, s) in tensors.items()], {})
    _, entries = parse_header(header_of(layout))
    for found in entries.values():
        assert (len(layout.prefix) + found.begin) * 8 % BITS[found.info.dtype] == 0


def test_a_file_of_odd_counts_loads_in_torch():
    values = {
        "half": torch.arange(3, dtype=torch.float16),
        "byte": torch.arange(5, dtype=torch.uint8),
        "full": torch.arange(7, dtype=torch.float32),
        "none": torch.zeros(0, 4, dtype=torch.bfloat16),
        "one": torch.tensor(2.5, dtype=torch.float64),
    }
    dtypes = {"half": "F16", "byte": "U8", "full": "F32", "none": "BF16", "one": "F64"}
    layout = canonical_layout(
        [TensorInfo(n, dtypes[n], tuple(t.shape)) for n, t in values.items()], {"format": "pt"}
    )
    assert layout.order == ("one", "full", "half", "none", "byte")
    file = layout.prefix + b"".join(
        values[name].reshape(-1).view(torch.uint8).numpy().tobytes() for name in layout.order
    )
    loaded = load(file)
    assert all(torch.equal(loaded[name], values[name]) for name in values)
