"""Real small inputs of every reader, changed: bytes anywhere, or fields of JSON under right seals."""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save
from spec.header_bytes import encode, encode_residual
from spec.residual_building import MAGIC as RESIDUAL_MAGIC
from spec.residual_building import frames_of as residual_frames_of
from spec.residual_building import residual_header_of
from spec.residual_vectors_valid import digits, own_components, plain, tree
from spec.sealing import (
    MAGIC,
    frames_of,
    header_bytes_of,
    header_of,
    payload_of,
    sealed,
    unzstd,
    zstd,
)
from spec.valid_vectors import rows_parts, small, source_lossy, tree_small

from dsvd_registry import canonical
from dsvd_registry.checkpoint.folder_listing import listing_bytes
from dsvd_registry.checkpoint.tensor_info import Fingerprint
from dsvd_registry.checkpoint.tree import ListedFile
from dsvd_registry.reconstruction.base_weights import Manifest
from fuzz import event

# What a field becomes: borders of every count, other types, names that lead elsewhere.
HOSTILE: list[Any] = [
    *(0, 1, -1, 2**31, 2**32 - 1, 2**33, 2**53, 2**63, 2**64 - 1, 10**4000, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), None, True, "", "..", "../x", "/etc/passwd", "a\0b", "\ud800"),
    *("\u202egnp.exe", "CON", "x" * 5000, "__metadata__", [], {}, [[]] * 3, [0, 0], {"a": {}}),
]


@functools.cache
def containers() -> list[bytes]:
    return [make().build().file for make in (small, rows_parts, source_lossy, tree_small)]


@functools.cache
def residuals() -> list[bytes]:
    return [make().file for make in (plain, own_components, digits, tree)]


@functools.cache
def safetensors_files() -> list[bytes]:
    tensors = {"a": torch.ones(2, 3), "b.c": torch.zeros(0, 2), "d": torch.tensor(2.0).half()}
    lora = {"x.lora_down.weight": torch.ones(1, 2), "x.lora_up.weight": torch.ones(2, 1)}
    return [save(tensors, {"k": "v"}), save({**lora, "x.alpha": torch.tensor(1.0)})]


@functools.cache
def pickles() -> list[bytes]:
    found = []
    for zipped in (True, False):
        file = io.BytesIO()
        value = {"state_dict": {"a": torch.ones(2, 3), "b": torch.arange(4)[1:3]}, "epoch": 3}
        torch.save(value, file, _use_new_zipfile_serialization=zipped)
        found.append(file.getvalue())
    return found


@functools.cache
def listings() -> list[bytes]:
    files = [ListedFile(path, "0" * 64, 3) for path in ("a/b.json", "model_index.json")]
    return [listing_bytes(files)]


@functools.cache
def logged_events() -> list[bytes]:
    return list(event.seeds())


@functools.cache
def manifests() -> list[bytes]:
    tensors = (("a", "F32", (2, 3)), ("b", "F4", (4,)), ("c", "BF16", ()))
    return [Manifest(tuple(Fingerprint(*tensor, "0" * 64) for tensor in tensors)).to_bytes()]


@functools.cache
def signatures() -> list[bytes]:
    statement = {"purpose": "dsvd signature v1", "results": [{"path": "a", "size": 1}]}
    value = {"key": "1" * 64, "signature": "2" * 128, "statement": statement}
    return [canonical.encode(value)]


@st.composite
def changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Flipped, cut, repeated or overwritten in a few places."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        run = draw(st.integers(1, 40))
        match draw(st.sampled_from(("flip", "cut", "remove", "repeat", "write", "length"))):
            case "flip" if found:
                found[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del found[at:]
            case "remove":
                del found[at : at + run]
            case "repeat":
                found[at:at] = found[at : at + run] * draw(st.integers(1, 50))
            case "write":
                found[at : at + run] = draw(st.binary(max_size=40))
            case _:
                number = draw(st.sampled_from((0, 1, 2**31, 2**32 - 1, 2**33, 2**63, 2**64 - 1)))
                found[at : at + 8] = struct.pack("<Q", number)
    return bytes(found)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every object or array within with each key of it."""
    found, waiting = [], [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict | list):
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            found += [(inner, key) for key in keys]
            waiting += [inner[key] for key in keys]
    return found


@st.composite
def changed_json(draw: st.DrawFn, text: bytes) -> bytes:
    """The same of JSON, canonical again."""
    value = draw(changed_fields(json.loads(text)))
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@st.composite
def changed_fields(draw: st.DrawFn, value: Any) -> Any:
    """Fields set to what is hostile, taken away, doubled, renamed or exchanged."""
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        if not places:
            break
        inner, key = draw(st.sampled_from(places))
        other, other_key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("set", "set", "nudge", "take", "double", "exchange"))):
            case "set":
                inner[key] = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
            case "nudge" if type(inner[key]) is int:
                inner[key] += draw(st.sampled_from((-1, 1, 7, 2**32)))
            case "take":
                del inner[key]
            case "double" if isinstance(inner, list):
                inner.insert(key, inner[key])
            case "exchange" if not isinstance(inner[key], dict | list):
                inner[key] = json.loads(json.dumps(other[other_key]))
    return value


@st.composite
def changed_header(draw: st.DrawFn, header: Any, write: Callable[[Any], bytes]) -> bytes:
    """Values of any size and kind, as far as they can be written."""
    try:
        return write(draw(changed_fields(copy.deepcopy(header))))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error):
        return draw(changed_bytes(write(header)))


@st.composite
def hostile_containers(draw: st.DrawFn) -> bytes:
    """Most of them with right digests: the header, or a frame, is changed below them."""
    file = draw(st.sampled_from(containers()))
    return draw(_hostile_file(file, header_of(file), encode, frames_of(file), MAGIC))


@st.composite
def hostile_residuals(draw: st.DrawFn) -> bytes:
    """As containers, whose prologue and frames they share."""
    file = draw(st.sampled_from(residuals()))
    header, frames = residual_header_of(file), residual_frames_of(file)
    return draw(_hostile_file(file, header, encode_residual, frames, RESIDUAL_MAGIC))


@st.composite
def _hostile_file(
    draw: st.DrawFn,
    file: bytes,
    header: Any,
    write: Callable[[Any], bytes],
    frames: list[bytes],
    magic: bytes,
) -> bytes:
    match draw(st.sampled_from(("bytes", "header", "header", "fields", "frame"))):
        case "bytes":
            return draw(changed_bytes(file))
        case "header":
            return sealed(draw(changed_header(header, write)), payload_of(file), magic)
        case "fields":
            return sealed(draw(changed_bytes(header_bytes_of(file))), payload_of(file), magic)
    number = draw(st.integers(0, len(frames) - 1))
    content = draw(changed_bytes(unzstd(frames[number])))
    frames[number] = draw(st.sampled_from((zstd(content), content)))
    told = {"stored": len(frames[number]), "raw": len(content)}
    header["frames"][number] |= {**told, "sha256": hashlib.sha256(frames[number]).hexdigest()}
    return sealed(write(header), b"".join(frames), magic)


@st.composite
def hostile_safetensors(draw: st.DrawFn) -> bytes:
    file = draw(st.sampled_from(safetensors_files()))
    if draw(st.booleans()):
        return draw(changed_bytes(file))
    end = 8 + struct.unpack_from("<Q", file)[0]
    header = draw(changed_json(file[8:end]))
    return struct.pack("<Q", len(header)) + header + file[end:]


def hostile_pickles() -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.sampled_from(pickles()).flatmap(changed_bytes),
        st.sampled_from(pickles()[1:]).flatmap(_changed_opcodes),
    )


@st.composite
def _changed_opcodes(draw: st.DrawFn, data: bytes) -> bytes:
    """The legacy form has no checksum: its fourth pickle holds the tensors."""
    stream = io.BytesIO(data)
    for _ in range(3):
        pickle.Unpickler(stream).load()
    at = stream.tell()
    return data[:at] + draw(changed_bytes(data[at:]))


def _json_of(make: Callable[[], list[bytes]]) -> st.SearchStrategy[bytes]:
    found = st.sampled_from(make())
    return st.one_of(found.flatmap(changed_json), found.flatmap(changed_bytes))


INPUTS: dict[str, Callable[[], st.SearchStrategy[bytes]]] = {
    "container": hostile_containers,
    "residual": hostile_residuals,
    "safetensors": hostile_safetensors,
    "lora": hostile_safetensors,
    "pickle": hostile_pickles,
    "listing": lambda: _json_of(listings),
    "event": lambda: _json_of(logged_events),
    "manifest": lambda: st.sampled_from(manifests()).flatmap(changed_bytes),
    "signature": lambda: _json_of(signatures),
}
"""What each reader is sent."""
