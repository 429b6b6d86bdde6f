"""What is small as bytes and large as Python objects: JSON, and headers of many entries."""

from __future__ import annotations

from collections.abc import Callable

from spec.header_bytes import Json, encode
from spec.sealing import header_of, sealed
from spec.valid_vectors import no_tensor

from dsvd_registry.canonical import MAX_SMALL, MAX_WEIGHT, weight
from dsvd_registry.checkpoint.safetensors_file import MAX_VALUES
from dsvd_registry.container import limits

FACE = b"\\ud83d\\ude00"  # one of these makes each character of its string take four bytes

# What an array is filled with, by number.
UNITS: dict[str, Callable[[int], bytes]] = {
    "lists": lambda _: b"[]",
    "objects": lambda _: b"{}",
    "objects of one": lambda _: b'{"a":0}',
    "keys": lambda i: b'{"%06x":0,"%06x":[]}' % (i, i + (1 << 23)),
    "numbers": lambda i: b"%d" % (i + 100_000),
    "reals": lambda _: b"1.5",
    "strings": lambda i: b'"%06x"' % i,
    "long strings": lambda _: b'"' + b"a" * 4090 + b'"',
    "wide strings": lambda _: b'"' + FACE + b"a" * 4000 + b'"',
    "deep lists": lambda _: b"[" * 400 + b"]" * 400,
}


def array(name: str, *, least: bool = False) -> bytes:
    """An array of so many units as the header's bytes allow; `least`: as its weight does."""
    unit = UNITS[name]
    one = unit(0) + b","
    room = MAX_SMALL - 4096
    most = room // len(one)
    if least:
        wide = 4 if b"\\u" in one else 1
        each = weight(one) + (wide - 1) * len(one) * (b"\\u" not in one)
        most = min(most, (MAX_WEIGHT - 65536) // each)
    return b"[" + b",".join(unit(i) for i in range(most)) + b"]"


def single_string(*, wide: bool) -> bytes:
    """One string of all the room that there is."""
    size = MAX_SMALL - 4096
    return b'"' + (FACE if wide else b"") + b"a" * (size - len(FACE)) + b'"'


def filled_container(field: str, entry: Callable[[int], Json], each: int) -> bytes:
    """A valid header but for what stands in one list: all that the limits allow.

    `each`: the entries that one of them counts for.
    """
    header = header_of(no_tensor().build().file)
    header["left_out"] = []
    header[field] = [entry(i) for i in range((limits.FREE_ENTRIES + 100) // each)]
    return sealed(encode(header), b"")


def raw_record(number: int) -> Json:
    return {"dtype": "U8", "kind": "raw", "name": f"{number:06x}", "reason": "new", "shape": [0]}


def long_record(number: int) -> Json:
    return raw_record(number) | {"shape": [0, *[2**53 - 1] * 31]}


def same_record(number: int) -> Json:
    tensor = {"dtype": "U8", "name": f"{number:06x}", "shape": [1]}
    base = [{**tensor, "sha256": "0" * 64}]
    return {**tensor, "base": base, "kind": "same", "new_rows": 0, "view": {"kind": "reshape"}}


def frame(number: int, parts: int = 1) -> Json:
    entry = {"content": "bytes", "raw": 1, "stored": 1, "sha256": f"{number:064x}"}
    return {**entry, "parts": [{"tensor": number, "count": 1}] * parts}


def left_out(number: int) -> Json:
    return {"name": f"{number:06x}", "reason": "r" * 40}


ENTRIES: dict[str, tuple[str, Callable[[int], Json], int]] = {
    "raw records": ("tensors", raw_record, 1),
    "records of 32 dimensions": ("tensors", long_record, 16),
    "same records": ("tensors", same_record, 2),
    "frames": ("frames", frame, 2),
    "parts": ("frames", lambda number: frame(number, 1000), 1001),
    "left out": ("left_out", left_out, 1),
}


def safetensors(text: bytes) -> bytes:
    """A safetensors file of this header and no data."""
    return len(text).to_bytes(8, "little") + text


def many_tensors() -> bytes:
    """A valid safetensors file of 2^17 tensors."""
    one = b'"%06x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    count = limits.MAX_TENSORS
    assert 7 * count < MAX_VALUES
    return safetensors(b"{" + b",".join(one % i for i in range(count)) + b"}")
