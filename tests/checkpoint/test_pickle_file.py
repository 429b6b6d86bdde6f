import collections
import hashlib
import io
import pickle
import random
import struct
import sys
import types
import zipfile

import numpy
import pytest
import torch

from dsvd_registry.checkpoint import LeftOut, open_checkpoint
from dsvd_registry.checkpoint.torch_legacy import MAGIC_NUMBER
from dsvd_registry.checkpoint.torch_types import DTYPE_GLOBALS
from dsvd_registry.errors import CheckpointError, InvalidArgument

FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}
LITTLE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
SAFETENSORS_NAMES = {f"torch.{e.name}": e.dtype for e in DTYPE_GLOBALS.values()}


@pytest.fixture(params=FORMATS)
def save(request, tmp_path):
    def save(value):
        path = tmp_path / "x.ckpt"
        torch.save(value, path, **FORMATS[request.param])
        return path

    return save


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_reads(checkpoint, tensors):
    assert list(checkpoint.tensors) == list(tensors)
    for name, tensor in tensors.items():
        info = checkpoint.tensors[name]
        assert info.dtype == SAFETENSORS_NAMES[str(tensor.dtype)], name
        assert info.shape == tuple(tensor.shape), name
        assert bytes(checkpoint.read(name)) == bits(tensor), name
        checkpoint.release(name)
        assert len(checkpoint.read(name)) == info.nbytes


def all_sorts():
    base = torch.randn(6, 5)
    return {
        "f32": base,
        "tied": base,
        "view": base[1:3],
        "transposed": base.t(),
        "every other": base[::2, 1::2],
        "expanded": torch.randn(3, 1).expand(3, 4),
        "one long": torch.randn(4, 1).as_strided((1, 4), (99, 1)),
        "empty": torch.zeros(0, 3),
        "empty view": base[6:],
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "element": base[2, 3],
        "f16": torch.randn(7).half(),
        "bf16": torch.randn(2, 3).bfloat16().t(),
        "bool": torch.tensor([True, False, True]),
        "i64": torch.arange(5),
        "i16": torch.arange(5, dtype=torch.int16),
        "c64": torch.randn(3, dtype=torch.complex64),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }


def new_dtypes():
    """The dtypes that torch writes as a dtype and an untyped storage."""
    return {
        "f8": torch.randn(3, 3).to(torch.float8_e4m3fn),
        "f8 view": torch.randn(3, 3).to(torch.float8_e5m2)[1:],
        "u16": torch.tensor([1, 2, 65535], dtype=torch.uint16),
        "u64": torch.tensor([1, 2, 3], dtype=torch.uint64)[1:],
    }


def test_every_sort_of_tensor_bit_for_bit_as_torch_loads_it(save):
    path = save(all_sorts())
    with open_checkpoint(path) as checkpoint:
        assert (checkpoint.format, checkpoint.header) == ("pickle", None)
        assert_reads(checkpoint, torch.load(path, weights_only=True))
        assert checkpoint.left_out == ()


def test_dtypes_that_torch_itself_cannot_load_from_the_legacy_format(save):
    tensors = new_dtypes()
    with open_checkpoint(save(tensors)) as checkpoint:
        assert_reads(checkpoint, tensors)


def test_tied_tensors_have_equal_fingerprints(save):
    with open_checkpoint(save(all_sorts())) as checkpoint:
        found = {f.name: f for f in checkpoint.fingerprints()}
        assert found["f32"].sha256 == found["tied"].sha256


def test_contiguous_tensors_lie_in_the_file(save):
    with open_checkpoint(save({"w": torch.randn(4, 4), "t": torch.randn(4, 4).t()})) as checkpoint:
        first, again = checkpoint.read("w"), checkpoint.read("w")
        assert first.obj is again.obj
        assert checkpoint.read("t").readonly and first.readonly


def test_the_state_dict_of_a_module_with_its_metadata(save):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    with open_checkpoint(save(module.state_dict())) as checkpoint:
        assert_reads(checkpoint, module.state_dict())
        assert checkpoint.left_out == ()


def test_everything_beside_the_state_dict_is_accounted_for(save):
    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    lonely = torch.randn(3)
    path = save(
        {
            "epoch": 3,
            "state_dict": {**module.state_dict(), "step": 4, "note": "x", "many": [lonely]},
            "optimizer_states": [optimizer.state_dict()],
            "sparse": torch.eye(2).to_sparse(),
        }
    )
    with open_checkpoint(path) as checkpoint:
        assert_reads(checkpoint, module.state_dict())
        outside = [
            f"optimizer_states.0.state.{parameter}.{key}"
            for parameter in (0, 1)
            for key in ("step", "exp_avg", "exp_avg_sq")
        ]
        assert checkpoint.left_out[:3] == tuple(
            LeftOut(name, "not a tensor") for name in ("step", "note", "many")
        )
        assert {left.name for left in checkpoint.left_out[3:]} >= {
            "state_dict.many.0",
            "sparse",
            *outside,
        }
        assert all(
            left.reason.startswith(("outside", "inside")) for left in checkpoint.left_out[3:]
        )


LIGHTNING = "pytorch_lightning.callbacks.model_checkpoint"


class Callback:
    """A class that is pickled under the name of a class of pytorch_lightning."""

    __module__ = LIGHTNING
    __qualname__ = "ModelCheckpoint"

    def __init__(self):
        self.best = torch.tensor(1.0)


@pytest.fixture
def lightning():
    parts = LIGHTNING.split(".")
    names = [".".join(parts[: count + 1]) for count in range(len(parts))]
    modules = {name: types.ModuleType(name) for name in names}
    modules[LIGHTNING].ModelCheckpoint = Callback
    sys.modules.update(modules)
    yield
    for name in names:
        del sys.modules[name]


def test_a_lightning_checkpoint(save, lightning):
    path = save(
        {
            "state_dict": {"w": torch.ones(2)},
            "callbacks": {Callback: {"best_model_score": torch.tensor(0.25), "path": "/a"}},
            "loops": [Callback()],
        }
    )
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == ["w"]
        name = f"{LIGHTNING}.ModelCheckpoint"
        assert set(checkpoint.left_out) >= {
            LeftOut(f"callbacks.{name}.best_model_score", "outside the state dict"),
            LeftOut(name, "a class in the pickle; not loaded"),
        }
        (inside,) = [left for left in checkpoint.left_out if left.reason.startswith("inside")]
        assert inside.name.startswith("storage ")


def test_numpy_values_beside_the_state_dict(save):
    path = save({"state_dict": {"w": torch.ones(1)}, "score": numpy.float32(1), "a": numpy.ones(2)})
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == ["w"]
        assert any("multiarray" in left.name for left in checkpoint.left_out)


W = torch.ones(2)
CHOICES = [
    ({"state_dict": {"a": W}, "w": W}, ["a"]),
    ({"state_dict": {"model": {"a": W, "b": {"c": W}}}}, ["model.a", "model.b.c"]),
    ({"state_dict": {"a": 1}, "w": W}, ["w"]),
    ({"w": W, "inner": {"a": W}}, ["w", "inner.a"]),
    ({"model": {"a": W}, "optimizer": {"state": {0: {"x": W}}, "lr": 1}}, ["a"]),
    ({"model": {"a": {"b": W}}, "args": {"x": 1}}, ["a.b"]),
    ({"string_to_param": torch.nn.ParameterDict({"x": W}).state_dict()}, ["x"]),
    (collections.OrderedDict(w=W), ["w"]),
]


@pytest.mark.parametrize(("value", "names"), CHOICES)
def test_which_mapping_is_the_state_dict(save, value, names):
    with open_checkpoint(save(value)) as checkpoint:
        assert list(checkpoint.tensors) == names
        left = [item for item in checkpoint.left_out if item.reason == "outside the state dict"]
        assert all(bytes(checkpoint.read(name)) == bits(W) for name in names)
        assert all(item.name for item in left)


def in_itself():
    value = {"w": W}
    value["again"] = value
    return value


def deep(depth):
    value = {"w": W}
    for _ in range(depth):
        value = {"a": value}
    return {"w": W, "deep": value}


UNCLEAR = [
    (torch.ones(2), "its value is not a mapping"),
    ([W, W], "its value is not a mapping"),
    ({"a": 1}, "no mapping in it has tensors"),
    ({0: W}, "no mapping in it has tensors"),
    ({"model": {"a": W}, "ema": {"a": W}}, "several state dicts: 'model', 'ema'"),
    ({"a": {"b": W}, "a.b": W}, "two tensors of the name 'a.b'"),
    ({"": W}, "has 0 bytes"),
    ({"\0": W}, "holds a NUL"),
    ({"n" * 5000: W}, "too long"),
    ({"é" * 4000: W}, "8000 bytes"),
    (in_itself(), "nests more than 64 deep"),
    (deep(100), "nests more than 64 deep"),
]


@pytest.mark.parametrize(("value", "message"), UNCLEAR)
def test_what_is_no_clear_state_dict_is_refused(save, value, message):
    path = save(value)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_mapping_that_doubles_at_each_level_ends(save):
    value = {"w": W}
    for _ in range(40):
        value = {"a": value, "b": value}
    with pytest.raises(CheckpointError, match="more than"):
        open_checkpoint(save({"w": W, "doubles": value}))


def test_tensors_that_have_no_plain_numbers_are_left_out(save):
    value = {
        "w": W,
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.zeros(2, device="meta"),
        "c128": torch.ones(2, dtype=torch.complex128),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
    }
    with open_checkpoint(save(value)) as checkpoint:
        assert list(checkpoint.tensors) == ["w"]
        reasons = {left.name: left.reason for left in checkpoint.left_out}
    assert "sparse" in reasons["sparse"]
    assert "meta" in reasons["meta"]
    assert "torch.complex128, which safetensors lacks" in reasons["c128"]
    assert "conjugated" in reasons["conjugated"]


def test_a_tensor_with_attributes(save):
    tensor = torch.nn.Parameter(torch.randn(2))
    tensor.note = "x"
    with open_checkpoint(save({"w": tensor})) as checkpoint:
        assert_reads(checkpoint, {"w": tensor})


def test_a_whole_module_is_not_loaded(save):
    with pytest.raises(CheckpointError, match="its value is not a mapping"):
        open_checkpoint(save(torch.nn.Linear(2, 2)))


def test_a_malicious_checkpoint_runs_nothing(save, tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            import os

            return os.system, (f"touch {canary}",)

    path = save({"state_dict": {"w": W, "x": Payload()}})
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == ["w"]
        assert LeftOut("posix.system", "a class in the pickle; not loaded") in checkpoint.left_out
        assert LeftOut("x", "not a tensor") in checkpoint.left_out
    assert not canary.exists()


# Files that contradict themselves.


def as_it_is(_, data):
    return data


def rezip(path, change=as_it_is, compression=zipfile.ZIP_STORED, extra=()):
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in [*entries, *extra]:
            archive.writestr(name, change(name, data))
    return path


@pytest.fixture
def zipped(tmp_path):
    torch.save({"w": torch.arange(6.0).reshape(2, 3).t(), "s": torch.ones(2)}, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def pickled(old, new):
    def change(name, data):
        if name.endswith("data.pkl"):
            assert data.count(old) >= 1
            return data.replace(old, new, 1)
        return data

    return change


def test_a_zip_that_another_program_wrote(zipped):
    with open_checkpoint(rezip(zipped)) as checkpoint:
        assert_reads(checkpoint, torch.load(zipped, weights_only=True))


def test_a_deflated_zip_as_torch_loads_it(tmp_path):
    """Other programs compress what torch stores. Seen to fail: refused as compressed."""
    path = tmp_path / "x.ckpt"
    torch.save(all_sorts(), path)
    stored = torch.load(path, weights_only=True)
    rezip(path, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    with open_checkpoint(path) as checkpoint:
        assert_reads(checkpoint, torch.load(path, weights_only=True))
        for name, tensor in stored.items():
            memory = numpy.empty(max(0, checkpoint.tensors[name].nbytes - 3), numpy.uint8)
            checkpoint.copier(name)(3, memory)
            assert memory.tobytes() == bits(tensor)[3 : 3 + len(memory)]
        digests = {f.name: f.sha256 for f in checkpoint.fingerprints()}
        assert digests["f32"] == digests["tied"] == hashlib.sha256(bits(stored["f32"])).hexdigest()
        held = checkpoint.read("f32")
    assert bytes(held) == bits(stored["f32"])  # also after it is closed


@pytest.mark.parametrize("name", ["x/data/0", "x/data.pkl"])
def test_damage_in_a_deflated_zip(zipped, name):
    rezip(zipped, compression=zipfile.ZIP_DEFLATED)
    local, _ = entry_offsets(zipped, name)
    raw = bytearray(zipped.read_bytes())
    raw[local + 30 + len(name) + 3] ^= 0x55
    zipped.write_bytes(raw)
    with (
        pytest.raises(CheckpointError, match=r"damaged|do not inflate|more than its"),
        open_checkpoint(zipped) as checkpoint,
    ):
        checkpoint.read("w")


def test_a_deflated_entry_that_is_longer_or_shorter_than_it_says(zipped):
    rezip(zipped, compression=zipfile.ZIP_DEFLATED)
    right = pickle_size(zipped)
    for size, message in ((right - 1, "more than its"), (right + 1, "do not inflate to")):
        lying = zipped.with_name(f"{size}.ckpt")
        raw = bytearray(zipped.read_bytes())
        for at, offset in zip(entry_offsets(zipped, "x/data.pkl"), (22, 24), strict=True):
            assert struct.unpack_from("<L", raw, at + offset) == (right,)
            struct.pack_into("<L", raw, at + offset, size)
        lying.write_bytes(raw)
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(lying)


def pickle_size(path):
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo("x/data.pkl").file_size


CHOICES = {"model": {"a": W}, "ema": {"shadow": {"a": W + 1}}, "step": 3, "empty": {"b": 1}}


@pytest.mark.parametrize("name", ["model", "ema"])
def test_an_entry_that_is_chosen(save, name):
    path = save(CHOICES)
    wanted = {"model": {"a": W}, "ema": {"shadow.a": W + 1}}[name]
    with open_checkpoint(path, name) as checkpoint:
        assert_reads(checkpoint, wanted)
        (other,) = {"model", "ema"} - {name}
        assert any(
            one.name.startswith(f"{other}.") and one.reason == "outside the state dict"
            for one in checkpoint.left_out
        )


def test_a_choice_goes_before_what_is_clear(save):
    path = save({"state_dict": {"a": W}, "ema": {"a": W + 1}})
    with open_checkpoint(path) as checkpoint:
        assert_reads(checkpoint, {"a": W})
    with open_checkpoint(path, "ema") as checkpoint:
        assert_reads(checkpoint, {"a": W + 1})


@pytest.mark.parametrize("name", ["emma", "step", "empty", ""])
def test_an_entry_that_is_not_there(save, name):
    path = save(CHOICES)
    with pytest.raises(InvalidArgument, match="no state dict under the name") as caught:
        open_checkpoint(path, name)
    assert str(caught.value).startswith(f"{path}: ")
    assert "'model', 'ema'" in caught.value.hint


def test_several_are_named_with_how_to_choose(save):
    with pytest.raises(CheckpointError, match="several state dicts: 'model', 'ema'") as caught:
        open_checkpoint(save({"model": {"a": W}, "ema": {"a": W}}))
    assert "--weights ema" in caught.value.hint


def test_a_file_without_checksums(zipped):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": W}, zipped)
    finally:
        torch.serialization.set_crc32_options(True)
    with open_checkpoint(zipped) as checkpoint:
        assert_reads(checkpoint, {"w": W})


# In the pickle: the storage's 6 elements, the offset 0, the shape (3, 2), the strides (1, 3).
SIZE, OFFSET = b"K\x06tq\x07", b"QK\x00"
SHAPE, STRIDES = b"K\x03K\x02\x86q\x08", b"K\x01K\x03\x86"
NUMBERS = {
    "storage '0' has 24 bytes, not 1073741824": (
        SIZE,
        b"J" + struct.pack("<i", 2**28) + b"tq\x07",
    ),
    "tensor 'w': its element 6 lies outside its storage": (OFFSET, b"QK\x01"),
    "tensor 'w': its element 8 lies outside": (SHAPE, b"K\x03K\x03\x86q\x08"),
    "tensor 'w': its element 4611686018427387906 lies outside": (
        STRIDES,
        b"K\x01\x8a\x08" + struct.pack("<q", 2**62) + b"\x86",
    ),
    "out of range": (STRIDES, b"J" + struct.pack("<i", -1) + b"K\x03\x86"),
    "tensor 'w': it has 2 dimensions but 1 strides": (STRIDES, b"K\x01\x85"),
    "tensor 'w': it spreads a storage of 24 bytes": (
        SHAPE + STRIDES,
        b"J" + struct.pack("<i", 2**30) + b"K\x02\x86q\x08K\x00K\x00\x86",
    ),
    "tensor 'w' has a dimension that is not in": (
        SHAPE + STRIDES,
        b"\x8a\x08" + struct.pack("<q", 2**60) + b"K\x02\x86q\x08K\x00K\x00\x86",
    ),
    "lacks the storage '7'": (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007"),
}


@pytest.mark.parametrize("message", NUMBERS)
def test_views_that_leave_their_storage_are_refused(zipped, message):
    old, new = NUMBERS[message]
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(rezip(zipped, pickled(old, new)))


ARCHIVES = {
    "is compressed in a way": {"compression": zipfile.ZIP_BZIP2},
    "0 data.pkl": {"change": None},
    "2 data.pkl": {"extra": [("y/data.pkl", b"N.")]},
    "TorchScript": {"extra": [("x/constants.pkl", b"N.")]},
    "not little-endian": {
        "change": lambda name, data: b"big" if name == "x/byteorder" else data,
    },
    "storage '0' has 23 bytes, not 24": {
        "change": lambda name, data: data[:-1] if name == "x/data/0" else data,
    },
    "damaged": {"change": lambda name, data: b"" if name == "x/data.pkl" else data},
}


@pytest.mark.parametrize("message", ARCHIVES)
def test_archives_that_torch_did_not_write_are_refused(zipped, message):
    arguments = ARCHIVES[message]
    if arguments.get("change", 1) is None:
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr("x/other", b"")
    else:
        rezip(zipped, **arguments)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(zipped)


def entry_offsets(path, name):
    """The positions of an entry's local header and of its record in the directory."""
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        directory, local = archive.start_dir, archive.getinfo(name).header_offset
    return local, raw.index(name.encode(), directory) - 46


LIES = {
    "is encrypted": ("central", 8, b"\x01"),
    "another header": ("local", 0, b"X"),
    "another name": ("local", 30, b"y"),
    "another size": ("local", 22, b"\x01"),
    "begins outside|another header": ("central", 42, b"\xff\xff"),
    "is compressed": ("central", 20, b"\xff"),
    "ends outside": ("local", 26, b"\xff\xff"),
}


@pytest.mark.parametrize("message", LIES)
def test_entries_that_contradict_themselves_are_refused(zipped, message):
    rezip(zipped)
    part, offset, value = LIES[message]
    local, central = entry_offsets(zipped, "x/data/0")
    raw = bytearray(zipped.read_bytes())
    start = offset + (local if part == "local" else central)
    raw[start : start + len(value)] = value
    zipped.write_bytes(raw)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(zipped)


def test_entries_that_overlap_are_refused(zipped):
    raw = bytearray(rezip(zipped).read_bytes())
    first, _ = entry_offsets(zipped, "x/data/0")
    # The entry of the first storage has the second one inside it.
    _, central = entry_offsets(zipped, "x/data/0")
    second, _ = entry_offsets(zipped, "x/data/1")
    size = struct.pack("<I", second + 40 - first)
    raw[central + 20 : central + 28] = size * 2
    raw[first + 18 : first + 26] = size * 2
    zipped.write_bytes(raw)
    with pytest.raises(CheckpointError, match="overlap"):
        open_checkpoint(zipped)


def test_a_damaged_storage_is_found_by_its_checksum(zipped):
    raw = bytearray(zipped.read_bytes())
    raw[raw.index(struct.pack("<f", 5.0))] ^= 1
    zipped.write_bytes(raw)
    with open_checkpoint(zipped) as checkpoint:
        assert bytes(checkpoint.read("s")) == bits(torch.ones(2))
        with pytest.raises(CheckpointError, match="CRC-32"):
            checkpoint.fingerprints()


def legacy_file(*values, storages=b""):
    stream = io.BytesIO()
    for value in values:
        pickle.dump(value, stream, protocol=2)
    return stream.getvalue() + storages


LEGACY = [
    (legacy_file({"w": 1}), "not one that torch.save wrote"),
    (legacy_file(MAGIC_NUMBER, 1002, LITTLE, {}, []), "protocol is not 1001"),
    (legacy_file(MAGIC_NUMBER, 1001, {**LITTLE, "little_endian": False}, {}, []), "little-endian"),
    (legacy_file(MAGIC_NUMBER, 1001, LITTLE, {}, ["a", "a"]), "list of storages is damaged"),
    (legacy_file(MAGIC_NUMBER, 1001, LITTLE, {}, ["a", None]), "list of storages is damaged"),
    (legacy_file(MAGIC_NUMBER, 1001, LITTLE, {}, 5), "list of storages is damaged"),
    (legacy_file(MAGIC_NUMBER, 1001, LITTLE, {}, ["a"]), "'a' belongs to no tensor"),
    (legacy_file(MAGIC_NUMBER, 1001, LITTLE, {}, [], storages=b"xx"), "2 bytes follow"),
    (legacy_file(MAGIC_NUMBER, 1001, LITTLE), "damaged"),
]


@pytest.mark.parametrize(("content", "message"), LEGACY)
def test_legacy_files_that_torch_did_not_write_are_refused(tmp_path, content, message):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_a_view_of_a_storage_as_torch_before_0_4_wrote_it(tmp_path):
    view = b"(V1\nI2\nI3\nt"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor\n((Vstorage\nctorch.cuda\nFloatStorage\nV0\nVcuda:0\nI6\n"
        + view
        + b"tQI1\n(I2\nt(I1\nttR"
    )
    path = tmp_path / "x.pt"
    head = legacy_file(MAGIC_NUMBER, 1001, LITTLE)
    data = struct.pack("<Q6f", 6, *range(6))
    path.write_bytes(head + b"\x80\x02}Vw\n" + tensor + b"s." + legacy_file(["0"], storages=data))
    with open_checkpoint(path) as checkpoint:
        assert_reads(checkpoint, {"w": torch.tensor([3.0, 4.0])})
    long_view = b"\x80\x02}Vw\n" + tensor.replace(b"I3\n", b"I5\n") + b"s."
    path.write_bytes(head + long_view + legacy_file(["0"], storages=data))
    with pytest.raises(CheckpointError, match="a view of its storage '0' is longer"):
        open_checkpoint(path)


def test_truncation_anywhere_is_refused(save):
    path = save({"state_dict": {"w": torch.randn(20, 3), "s": torch.ones(2)}, "epoch": 1})
    whole = path.read_bytes()
    for size in sorted({*range(0, len(whole), 17), *range(len(whole) - 60, len(whole))}):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            open_checkpoint(path)


def test_changed_bytes_give_a_valid_read_or_a_checkpoint_error(save):
    path = save({"state_dict": {"w": torch.randn(4, 3).t(), "s": torch.ones(2)}, "x": {1, 2.5}})
    whole = path.read_bytes()
    dice = random.Random(20)
    outcomes = collections.Counter()
    for _ in range(1000):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            with open_checkpoint(path) as checkpoint:
                assert len(checkpoint.fingerprints()) == len(checkpoint.tensors)
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 20, outcomes


def test_changed_pickles_give_a_valid_read_or_a_checkpoint_error(zipped):
    # The checksum would catch them all: here it fits.
    with zipfile.ZipFile(zipped) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    dice = random.Random(21)
    outcomes = collections.Counter()
    for _ in range(800):
        damaged = bytearray(entries["x/data.pkl"])
        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        with zipfile.ZipFile(zipped, "w") as archive:
            for name, data in (entries | {"x/data.pkl": bytes(damaged)}).items():
                archive.writestr(name, data)
        try:
            with open_checkpoint(zipped) as checkpoint:
                assert len(checkpoint.fingerprints()) == len(checkpoint.tensors)
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 20, outcomes
