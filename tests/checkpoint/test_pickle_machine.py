import collections
import io
import os
import pickle
import struct

import pytest

from dsvd_registry.checkpoint.pickle_machine import MAX_STEPS, read_pickle
from dsvd_registry.checkpoint.pickle_values import (
    Global,
    Placeholder,
    StorageRef,
    TensorRef,
    UnreadableTensor,
)
from dsvd_registry.errors import CheckpointError


def read(data):
    return read_pickle(io.BytesIO(data))


PLAIN = {
    "none": None,
    "truth": [True, False],
    "ints": [0, 1, -1, 255, 65536, 2**31, -(2**40), 2**100],
    "floats": [0.5, float("inf"), -0.0],
    "texts": ["", "é\U0001f600", "x" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "nested": {"a": {"b": [{"c": ()}]}},
    (1, ("x", None)): "a tuple as a key",
    2.5: collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, {"a": [1]}),
}


@pytest.mark.parametrize("protocol", range(1, 6))
def test_plain_data_comes_out_as_itself(protocol):
    found = read(pickle.dumps(PLAIN, protocol))
    assert found.value == PLAIN
    assert (found.tensors, found.storages, found.unknown) == ((), (), ())


@pytest.mark.parametrize("protocol", range(2, 6))
def test_bytes_and_sets(protocol):
    value = [b"", b"\x00\xff", {1}, frozenset({2})]
    assert read(pickle.dumps(value, protocol)).value == [b"", b"\x00\xff", [1], (2,)]


def test_protocol_0_numbers_and_texts():
    assert read(pickle.dumps([1, True, 2.5, "é"], 0)).value == [1, True, 2.5, "é"]


def test_python_2_strings_are_texts_where_they_can_be():
    assert read(b"U\x02\xc3\xa9.").value == "é"
    assert read(b"U\x01\xff.").value == b"\xff"


def test_the_same_object_stays_the_same_object():
    shared = [1]
    first, second = read(pickle.dumps((shared, shared))).value
    assert first is second


def test_the_stream_is_left_behind_the_pickle():
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps(2))
    assert [read_pickle(stream).value, read_pickle(stream).value] == [1, 2]


class Thing(dict):
    """A class that is unknown, like a callback of a training framework."""

    def __init__(self, **items):
        super().__init__(items)
        self.attribute = "x"

    def __hash__(self):
        return 1


@pytest.mark.parametrize("protocol", range(2, 6))
def test_unknown_classes_become_placeholders_and_are_named_once(protocol):
    found = read(pickle.dumps({Thing: 1, Thing(a=1): 2, "list": [Thing(), Thing()]}, protocol))
    names = [f"{__name__}.Thing"]
    if protocol < 3:
        # Python names what makes objects of the old protocols.
        assert set(names) <= set(found.unknown)
    else:
        assert list(found.unknown) == names
    keys = list(found.value)
    assert keys[0] == Global(f"{__name__}.Thing")
    assert all(isinstance(item, Placeholder) for item in [keys[1], *found.value["list"]])
    assert found.value["list"][0] is not found.value["list"][1]


def canary_payloads(canary):
    """Pickles that execute code in several ways, some of which passed restricted unpicklers."""
    command = f"touch {canary}"
    text = command.encode()

    class System:
        def __reduce__(self):
            return os.system, (command,)

    class Evaluate:
        def __reduce__(self):
            return eval, (f"__import__('os').system({command!r})",)

    class Chained:
        def __reduce__(self):
            return getattr, (os, "system")

    yield pickle.dumps(System(), 0)
    yield pickle.dumps(System(), 2)
    yield pickle.dumps(Evaluate(), 4)
    yield pickle.dumps([System(), {"a": Evaluate()}], 2)
    yield b"(cposix\nsystem\nV" + text + b"\no."
    yield b"(V" + text + b"\niposix\nsystem\n."
    yield b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + bytes([len(text)]) + text + b"\x85R."
    # __setstate__ through BUILD, NEWOBJ_EX, and a call of what a call gave.
    yield (
        b"\x80\x02ctorch\nTensor\n)\x81}U\x0c__setstate__cposix\nsystem\nsbU"
        + bytes([len(text)])
        + text
        + b"b."
    )
    yield b"\x80\x04cposix\nsystem\n(V" + text + b"\nt}\x92."
    yield b"c__builtin__\ngetattr\n(cposix\n__dict__\nVsystem\ntR(V" + text + b"\ntR."
    # The rebuild functions with functions of others as arguments.
    yield b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nctorch\nTensor\n(V" + (
        text + b"\nt}tR."
    )
    yield b"ctorch._utils\n_rebuild_parameter\n(cposix\nsystem\n(V" + text + b"\ntR}NtR."
    yield b"ccollections\ndefaultdict\n(cposix\nsystem\ntRV" + text + b"\nI1\ns."
    yield b"(V" + text + b"\ncposix\nsystem\ntQ."


@pytest.mark.parametrize("index", range(14))
def test_no_payload_runs(tmp_path, index):
    canary = tmp_path / "canary"
    payloads = list(canary_payloads(canary))
    assert len(payloads) == 14
    try:
        found = read(payloads[index])
    except CheckpointError:
        pass
    else:
        assert {"posix.system", "builtins.eval", "builtins.getattr"} & set(found.unknown)
    assert not canary.exists()


def test_the_first_payload_would_run(tmp_path):
    canary = tmp_path / "canary"
    pickle.loads(next(canary_payloads(canary)))
    assert canary.exists()


STORAGE = b"(Vstorage\nctorch\nFloatStorage\nVk\nVcpu\nI6\ntQ"
HOOKS = b"I00\nccollections\nOrderedDict\n)R"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"I1\n(I2\nI2\nt(I2\nI1\nt" + HOOKS


def test_a_tensor_is_a_reference():
    found = read(TENSOR + b"tR.")
    tensor = found.value
    assert isinstance(tensor, TensorRef)
    assert (tensor.offset, tensor.shape, tensor.strides) == (1, (2, 2), (2, 1))
    assert tensor.kind.dtype == "F32"
    assert found.storages == (tensor.storage,)
    assert isinstance(tensor.storage, StorageRef)
    assert (tensor.storage.key, tensor.storage.elements) == ("k", 6)
    assert found.tensors == (tensor,)


def test_a_parameter_is_its_tensor():
    found = read(b"ctorch._utils\n_rebuild_parameter\n(" + TENSOR + b"tRI01\n}tR.")
    assert found.tensors == (found.value,)


@pytest.mark.parametrize("kind", ["sparse_tensor", "qtensor", "nested_tensor"])
def test_tensors_without_plain_numbers_are_unreadable(kind):
    found = read(f"ctorch._utils\n_rebuild_{kind}\n)R.".encode())
    assert isinstance(found.value, UnreadableTensor)


def test_conjugated_tensors_are_unreadable():
    found = read(TENSOR + b"}Vconj\nI01\nstR.")
    assert isinstance(found.value, UnreadableTensor)
    assert "conjugated" in found.value.reason


def deep_tuple(depth):
    return b")" + b"\x85" * depth


REJECTED = {
    "no opcode": (b"\xfe.", "damaged"),
    "no stop": (b"I1\n", "damaged"),
    "nothing": (b"", "damaged"),
    "an empty stack at the end": (b".", "not there"),
    "values left over": (b"I1\nI2\n.", "left over"),
    "a mark left over": (b"(I1\n.", "left over"),
    "a closed mark that was never open": (b"t.", "never opened"),
    "memo": (b"h\x05.", "unknown value"),
    "memo of nothing": (b"q\x05.", "not there"),
    "append to a number": (b"I1\nI2\na.", "no list"),
    "items of a list": (b"]I1\nI2\ns.", "no dictionary"),
    "a key without a value": (b"}(I1\nu.", "without a value"),
    "a list as a key": (b"}]I1\ns.", "key"),
    "a list in a tuple as a key": (b"}(]tI1\ns.", "key"),
    "a deep tuple as a key": (b"}" + deep_tuple(200_000) + b"I1\ns.", "key"),
    "a wide tuple as a key": (b"}(" + b"I1\n" * 300 + b"tI1\ns.", "key"),
    "a call of a number": (b"I1\n)R.", "no function"),
    "a call without a tuple": (b"cos\nsystem\nI1\nR.", "without arguments"),
    "an object of nothing": (b"(o.", "no class"),
    "a global of numbers": (b"I1\nI2\n\x93.", "without a name"),
    "a global that does not print": (b"\x8c\x01\n\x8c\x01a\x93.", "not a name"),
    "a global that is too long": (b"c" + b"a" * 600 + b"\nb\n.", "not a name"),
    "a huge integer": (b"\x8b" + struct.pack("<i", 2000) + b"\x01" * 2000 + b".", "15993 bits"),
    "thousands of digits": (b"I" + b"9" * 5000 + b"\n.", "damaged"),
    "an extension": (b"\x82\x01.", "EXT1"),
    "an out-of-band buffer": (b"\x97.", "NEXT_BUFFER"),
    "a persistent id of protocol 0": (b"Px\n.", "PERSID"),
    "a persistent id of nothing": (b"I1\nQ.", "unknown way"),
    "a storage of no class": (b"(Vstorage\ncos\nsystem\nVk\nVcpu\nI6\ntQ.", "unknown way"),
    "a negative size": (STORAGE.replace(b"I6", b"I-6") + b".", "out of range"),
    "a negative offset": (TENSOR.replace(b"I1\n(I2", b"I-1\n(I2") + b"tR.", "out of range"),
    "a negative stride": (TENSOR.replace(b"t(I2\nI1", b"t(I2\nI-1") + b"tR.", "out of range"),
    "too few arguments": (b"ctorch._utils\n_rebuild_tensor_v2\n(I1\ntR.", "wrong arguments"),
    "a parameter of nothing": (b"ctorch._utils\n_rebuild_parameter\n)R.", "wrong arguments"),
    "a tensor without a storage": (TENSOR.replace(STORAGE, b"I1\n") + b"tR.", "without a storage"),
    "many dimensions": (
        TENSOR.replace(b"(I2\nI2\nt", b"(" + b"I1\n" * 33 + b"t") + b"tR.",
        "33 dimensions",
    ),
    "no latin-1": (b"c_codecs\nencode\n(Vx\nVutf-8\ntR.", "wrong arguments"),
    "a bad escape": (b"S'\\z'\n.", "damaged"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_rejected(case):
    data, message = REJECTED[case]
    with pytest.raises(CheckpointError, match=message):
        read(data)


def test_copies_of_one_list_count_as_steps():
    items = b"](" + b"I1\n" * 1000 + b"eq\x00"
    copies = b"cbuiltins\nset\nh\x00\x85R0" * (MAX_STEPS // 1000)
    with pytest.raises(CheckpointError, match="steps"):
        read(items + copies + b".")


def test_nesting_without_end_is_no_recursion():
    assert read(b"]" * 300_000 + b"a" * 299_999 + b".").value


def test_truncation_anywhere_is_refused():
    whole = pickle.dumps(PLAIN, 4)
    for size in range(len(whole)):
        with pytest.raises(CheckpointError):
            read(whole[:size])
