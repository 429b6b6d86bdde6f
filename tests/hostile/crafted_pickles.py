"""Pickles of 1 MiB that make as many objects, or names of tensors, as they can."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from dsvd_registry.checkpoint.torch_legacy import MAGIC_NUMBER, PROTOCOL_VERSION

ROOM = (1 << 20) - 512
MACHINE = {"protocol_version": PROTOCOL_VERSION, "little_endian": True, "type_sizes": {}}
STORAGE = b"(Vstorage\nctorch\nFloatStorage\nVk\nVcpu\nI1\ntQ"
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + STORAGE
    + b"I0\n(I1\nt(I1\ntI00\nccollections\nOrderedDict\n)RtR"
)


def legacy(pickled: bytes) -> bytes:
    """A file of torch before 1.6 that holds this pickle and one storage of one number."""
    before = (MAGIC_NUMBER, PROTOCOL_VERSION, MACHINE)
    start = b"".join(pickle.dumps(value, 2) for value in before)
    return start + pickled + pickle.dumps(["k"], 2) + (1).to_bytes(8, "little") + bytes(4)


def _one_tensor_by_many_names() -> bytes:
    names = b"".join(b"\x8c\x05%05xh\x00" % i for i in range(ROOM // 9))
    return b"\x80\x04" + TENSOR + b"\x940}(" + names + b"u."


def _long_names() -> bytes:
    """A mapping of many in a mapping of many: few bytes, and names of over 4000 characters."""
    inner = b"".join(b"\x8c\x04%04xh\x00" % i for i in range(2000))
    outer = b"".join(b"X\xa0\x0f\x00\x00" + b"%04000dh\x01" % i for i in range(100))
    start = b"\x80\x04" + TENSOR + b"\x940}(" + inner + b"u\x940"
    return start + b"}\x8c\x0astate_dict}(" + outer + b"us."


def _repeated(one: bytes, start: bytes = b"\x80\x04") -> Callable[[], bytes]:
    return lambda: start + one * (ROOM // len(one)) + b"."


PICKLES: dict[str, Callable[[], bytes]] = {
    "dictionaries": _repeated(b"}"),
    "memo": _repeated(b"\x94", b"\x80\x04N"),
    "tuples in tuples": _repeated(b"\x85", b"\x80\x04N"),
    "storages": _repeated(b"h\x00Q", b"\x80\x04" + STORAGE[:-1] + b"\x940"),
    "one tensor by many names": _one_tensor_by_many_names,
    "long names": _long_names,
}
