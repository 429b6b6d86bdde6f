"""JSON that is small as text and large as Python objects."""

from __future__ import annotations

import json
from collections.abc import Callable

from spec.sealing import prologue, text_of, zstd
from spec.valid_vectors import no_tensor

from dsvd_registry.canonical import MAX_WEIGHT, weight
from dsvd_registry.container.limits import MAX_HEADER_JSON

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
    room = MAX_HEADER_JSON - 4096
    most = room // len(one)
    if least:
        wide = 4 if b"\\u" in one else 1
        each = weight(one) + (wide - 1) * len(one) * (b"\\u" not in one)
        most = min(most, (MAX_WEIGHT - 65536) // each)
    return b"[" + b",".join(unit(i) for i in range(most)) + b"]"


def single_string(*, wide: bool) -> bytes:
    """One string of all the room that there is."""
    size = MAX_HEADER_JSON - 4096
    return b'"' + (FACE if wide else b"") + b"a" * (size - len(FACE)) + b'"'


def container(text: bytes) -> bytes:
    """A container with this header and without a payload."""
    stored = zstd(text, 1)
    return prologue(stored, len(text)) + stored


def filled_container(field: str, entry: Callable[[int], object]) -> bytes:
    """A valid header but for what stands in one array: all that the weight allows."""
    header = json.loads(text_of(no_tensor().build().file))
    header["left_out"] = []  # has characters outside ASCII
    plain = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    one = weight(json.dumps(entry(99_999), separators=(",", ":")).encode() + b",")
    header[field] = [entry(i) for i in range((MAX_WEIGHT - weight(plain) - 1024) // one)]
    return container(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())


def raw_record(number: int) -> object:
    return {"dtype": "U8", "kind": "raw", "name": f"{number:06x}", "reason": "new", "shape": [0]}


def same_record(number: int) -> object:
    tensor = {"dtype": "U8", "name": f"{number:06x}", "shape": [1]}
    return {
        **tensor,
        "base": [{**tensor, "sha256": "0" * 64}],
        "kind": "same",
        "view": {"kind": "reshape"},
    }


def frame(number: int) -> object:
    entry = {"content": "bytes", "parts": [[number, 1]], "raw": 1, "stored": 1}
    return {**entry, "xxh3": f"{number:016x}"}


def frame_of_many_parts(number: int) -> object:
    entry = {"content": "bytes", "parts": [[number, 1]] * 1000, "raw": 1, "stored": 1}
    return {**entry, "xxh3": f"{number:016x}"}


def left_out(number: int) -> object:
    return {"name": f"{number:06x}", "reason": "r"}


ENTRIES: dict[str, tuple[str, Callable[[int], object]]] = {
    "raw records": ("tensors", raw_record),
    "same records": ("tensors", same_record),
    "frames": ("frames", frame),
    "parts": ("frames", frame_of_many_parts),
    "left out": ("left_out", left_out),
}


def safetensors(text: bytes) -> bytes:
    """A safetensors file of this header and no data."""
    return len(text).to_bytes(8, "little") + text


def many_tensors() -> bytes:
    """A valid safetensors file of all the tensors that the weight allows."""
    one = b'"%06x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    count = (MAX_WEIGHT - 1024) // weight(one % 0 + b",")
    return safetensors(b"{" + b",".join(one % i for i in range(count)) + b"}")
