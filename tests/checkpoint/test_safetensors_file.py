import json
import struct
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.checkpoint.checkpoint import check_count
from dsvd_registry.checkpoint.mapping import MappedFile
from dsvd_registry.checkpoint.safetensors_file import SafetensorsFile, count_values, parse_header
from dsvd_registry.errors import CheckpointError, StorageError
from dsvd_registry.hashing import sha256

VALID = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]},
}


def changed(**entry):
    return {**VALID, "b": {**VALID["b"], **entry}}


@pytest.fixture
def write(tmp_path):
    def write(header, data=bytes(11), length=None):
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
        return path

    return write


def open_as_safetensors(path):
    return SafetensorsFile(MappedFile(path))


def test_reads_what_the_library_wrote(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {
        "w": torch.randn(3, 5),
        "h": torch.randn(7).bfloat16(),
        "f8": torch.randn(3, 3).to(torch.float8_e4m3fn),
        "e": torch.zeros(0, 2),
        "s": torch.tensor(3),
        "c": torch.randn(2, dtype=torch.complex64),
        "t": torch.tensor([True, False]),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    with open_checkpoint(path) as checkpoint:
        raw = path.read_bytes()
        assert checkpoint.format == "safetensors"
        assert checkpoint.path == path
        assert checkpoint.left_out == ()
        assert checkpoint.header == raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]]
        assert list(checkpoint.tensors) == list(parse_header(checkpoint.header)[1])
        counted = []
        found = {f.name: f for f in checkpoint.fingerprints(counted.append)}
        for name, tensor in tensors.items():
            info, data = checkpoint.tensors[name], bytes(checkpoint.read(name))
            assert info.shape == tuple(tensor.shape) and info.elements == tensor.numel()
            assert data == tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            assert found[name].sha256 == sha256(data)
            assert (found[name].dtype, found[name].shape) == (info.dtype, info.shape)
        assert sum(counted) == sum(info.nbytes for info in checkpoint.tensors.values())


def test_keeps_the_order_and_bytes_of_the_header(write):
    header = b'{"b": {"shape":[3],"dtype":"U8","data_offsets":[8,11]},\n "__metadata__":{"k":"v"},'
    header += b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}    '
    with open_checkpoint(write(header, b"01234567abc")) as checkpoint:
        assert checkpoint.header == header
        assert list(checkpoint.tensors) == ["b", "a"]
        assert bytes(checkpoint.read("b")) == b"abc"
        assert parse_header(header, 11)[0] == {"k": "v"}


LOOSE = {
    "white space": (b" \n\r\t", None),
    "null metadata": (b"", b"null"),
    "both": (b"  ", b" null "),
}


@pytest.mark.parametrize("name", LOOSE)
def test_headers_that_the_library_reads_too(write, name):
    """Seen to fail: both were refused."""
    before, metadata = LOOSE[name]
    own = b"" if metadata is None else b'"__metadata__":%b,' % metadata
    header = before + b"{%b" % own + b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    path = write(header, struct.pack("<2f", 1.5, -2))
    assert load_file(path)["a"].tolist() == [1.5, -2]
    with safe_open(path, "pt") as library:
        assert library.metadata() is None
    with open_checkpoint(path) as checkpoint:
        assert (checkpoint.format, checkpoint.header) == ("safetensors", header)
        assert bytes(checkpoint.read("a")) == struct.pack("<2f", 1.5, -2)
        assert parse_header(header)[0] is None


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (b"{}", 1),
        (b'{"a":{"shape":[2,3]},"b":1}', 5),
        (rb'{"a,[{\",[":"{,\\","b":[]}', 3),
        (b"[[[[" + b"1," * 100, 104),
    ],
)
def test_count_of_values(header, values):
    """What stands in strings is no value, escaped quotation marks included."""
    assert count_values(header) == values


def test_raw_dtypes_that_torch_lacks(write):
    header = {"q": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}
    with open_checkpoint(write(header, b"xyz")) as checkpoint:
        assert bytes(checkpoint.read("q")) == b"xyz"


def test_an_empty_header_is_a_checkpoint_without_tensors(write):
    with open_checkpoint(write({}, b"")) as checkpoint:
        assert dict(checkpoint.tensors) == {}
        assert checkpoint.fingerprints() == []


def test_views_outlive_the_checkpoint_and_its_release(write):
    with open_checkpoint(write(VALID, b"01234567abc")) as checkpoint:
        view = checkpoint.read("b")
        checkpoint.release("b")
        with pytest.raises(KeyError):
            checkpoint.read("nothing")
    assert bytes(view) == b"abc" and view.readonly


def test_a_length_that_begins_like_a_pickle_is_still_safetensors(write):
    header = json.dumps(VALID).encode()
    with open_checkpoint(write(header.ljust(0x280))) as checkpoint:
        assert checkpoint.format == "safetensors"


@pytest.mark.parametrize("size", range(8))
def test_too_short_for_a_length(tmp_path, size):
    (tmp_path / "x").write_bytes(bytes(size))
    with pytest.raises(CheckpointError, match="is empty" if size == 0 else "too few"):
        open_as_safetensors(tmp_path / "x")


REJECTED_FILES = {
    "ends inside its header": (VALID, b"", 10**6),
    "more than 16777216": (VALID, b"", 2**40),
    "truncated: 10 of 11 bytes": (VALID, bytes(10), None),
    "1 bytes follow its last tensor": (VALID, bytes(12), None),
    "does not begin with '{'": (b'\x0b {"a":1}', b"", None),
}


@pytest.mark.parametrize("message", REJECTED_FILES)
def test_rejected_file(write, message):
    path = write(*REJECTED_FILES[message])
    with pytest.raises(CheckpointError, match=message) as caught:
        open_as_safetensors(path)
    assert str(caught.value).startswith(f"{path}: ")


REJECTED_HEADERS = [
    (b"", "does not begin"),
    (b"{", "not JSON"),
    (b"{} x", "not JSON"),
    (b'{"a":1,"a":2}', "key 'a' twice"),
    (b'{"\\u0061":1,"a":2}', "key 'a' twice"),
    (b'{"\xff":1}', "not UTF-8"),
    (b'{"a":' * 100_000, "nests too deeply"),
    (b'{"a":' + b"[" * 100_000, "nests too deeply"),
    (b'{"a":' + b"9" * 5000 + b"}", "out of range"),
    (b'{"a":-1}', "out of range"),
    (b'{"a":NaN}', "not an integer"),
    (b'{"a":Infinity}', "not an integer"),
    (b'{"a":1.0}', "not an integer"),
    (b'{"a":1e3}', "not an integer"),
    (b'{"a":1}', "'a' is not an object of"),
    ({"a": {"dtype": "U8", "shape": [0]}}, "'a' is not an object of"),
    (changed(extra=1), "'b' is not an object of"),
    ({"__metadata__": []}, "__metadata__ is not an object"),
    ({"__metadata__": {"k": 1}}, "value that is not a string: 'k'"),
    (b'{"__metadata__":{"k":"\\ud800"}}', "__metadata__ is not valid Unicode"),
    (b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "not valid Unicode"),
    ({"": VALID["a"]}, "0 bytes, not 1 to 4096"),
    ({"n" * 4097: VALID["a"]}, "4097 bytes"),
    ({"a\0": VALID["a"]}, "holds a NUL"),
    (changed(dtype="F31"), "'b': dtype 'F31' is unknown"),
    (changed(dtype=8), "dtype that is not a string"),
    (changed(dtype="F4"), "'b': F4 of shape .3. is not a whole number of bytes"),
    (changed(shape=3), "shape that is not a list"),
    (changed(shape=["3"]), "dimension that is not in"),
    (changed(shape=[True]), "dimension that is not in"),
    (changed(shape=[2**53]), "dimension that is not in"),
    (changed(shape=[1] * 33), "33 dimensions"),
    (changed(shape=[4]), "has 3 bytes, but its dtype and shape make 4"),
    (changed(shape=[2**52] * 32), "has 3 bytes, but"),
    (changed(data_offsets=[8]), "not two integers"),
    (changed(data_offsets=[8, True]), "not two integers"),
    (changed(data_offsets="8"), "not two integers"),
    (changed(data_offsets=[11, 8]), "ends before it begins"),
    (changed(data_offsets=[7, 10]), "'b' overlaps another"),
    (changed(data_offsets=[9, 12]), "'b' has a hole before it"),
    ({"b": {**VALID["b"], "data_offsets": [1, 4]}}, "'b' has a hole before it"),
    ({**VALID, "e": {"dtype": "U8", "shape": [0], "data_offsets": [4, 4]}}, "overlaps another"),
    ({**VALID, "e": {"dtype": "U8", "shape": [0], "data_offsets": [12, 12]}}, "hole before it"),
]


@pytest.mark.parametrize(("header", "message"), REJECTED_HEADERS)
def test_rejected_header(header, message):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    with pytest.raises(CheckpointError, match=message):
        parse_header(raw, 11)


def test_too_many_tensors_are_refused():
    check_count(2**20)
    with pytest.raises(CheckpointError, match="1048577 tensors, more than 1048576"):
        check_count(2**20 + 1)


def test_truncation_anywhere_is_refused(write):
    path = write(VALID, b"01234567abc")
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            open_checkpoint(path)


def test_a_changed_byte_gives_a_valid_read_or_a_checkpoint_error(write):
    path = write({"__metadata__": {"k": "v"}, **VALID}, b"01234567abc")
    whole = path.read_bytes()
    outcomes = Counter()
    for position in range(len(whole) - 11):
        for value in (0x00, 0x22, 0x2D, 0x7B, 0x80, 0xFF, whole[position] ^ 1):
            damaged = bytearray(whole)
            damaged[position] = value
            path.write_bytes(damaged)
            try:
                with open_checkpoint(path) as checkpoint:
                    assert len(checkpoint.fingerprints()) == 2
                    found = {bytes(checkpoint.read(name)) for name in checkpoint.tensors}
                assert found == {b"01234567", b"abc"}  # under whatever names
                outcomes["read"] += 1
            except CheckpointError:
                outcomes["refused"] += 1
    assert outcomes["read"] > 10 and outcomes["refused"] > 100, outcomes


def test_what_is_no_checkpoint_says_what_it_is(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder, but not one that diffusers saves"):
        open_checkpoint(tmp_path)
    with pytest.raises(StorageError, match="No such file"):
        open_checkpoint(tmp_path / "missing")
    path = tmp_path / "x"
    for content, message in [
        (b"hello world, hello", "is not a checkpoint: expected safetensors or a torch pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (bytes(257) + b"ustar\x0000", "tar archive"),
        (b"# xet version 0\nfilesize = 3\nhash = 'ab'\n", "Git Xet pointer"),
        (b"GGUF\x03\0\0\0" + bytes(100), "GGUF file"),
        (b"\n<!DOCTYPE html><html><body>Log in", "web page"),
        (b"", "is empty"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(path)


def test_a_device_is_refused_without_being_opened():
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_checkpoint(Path("/dev/zero"))
