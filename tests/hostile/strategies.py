"""Real small inputs of every reader, changed: bytes anywhere, or fields of JSON under right seals."""

from __future__ import annotations

import copy
import functools
import io
import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

import torch
import xxhash
from hypothesis import strategies as st
from safetensors.torch import save
from spec.residual_building import MAGIC as RESIDUAL_MAGIC
from spec.residual_vectors_valid import digits, own_components, plain, tree
from spec.sealing import MAGIC, frames_of, payload_of, sealed, text_of, unzstd, zstd
from spec.valid_vectors import packed_small, small, source_lossy, tree_small

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
    return [make().build().file for make in (small, packed_small, source_lossy, tree_small)]


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
    """Fields set to what is hostile, taken away, doubled, renamed or exchanged; canonical again."""
    value = json.loads(text)
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
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@st.composite
def hostile_containers(draw: st.DrawFn) -> bytes:
    """Half of them with right checksums: the header, or a frame, is changed below them."""
    return draw(_hostile_files(containers(), MAGIC))


@st.composite
def hostile_residuals(draw: st.DrawFn) -> bytes:
    """As containers, whose prologue and frames they share."""
    return draw(_hostile_files(residuals(), RESIDUAL_MAGIC))


@st.composite
def _hostile_files(draw: st.DrawFn, files: list[bytes], magic: bytes) -> bytes:
    file = draw(st.sampled_from(files))
    match draw(st.sampled_from(("bytes", "header", "header", "text", "frame"))):
        case "bytes":
            return draw(changed_bytes(file))
        case "header":
            return sealed(draw(changed_json(text_of(file))), payload_of(file), magic)
        case "text":
            return sealed(draw(changed_bytes(text_of(file))), payload_of(file), magic)
    header, frames = json.loads(text_of(file)), frames_of(file)
    number = draw(st.integers(0, len(frames) - 1))
    content = draw(changed_bytes(unzstd(frames[number])))
    frames[number] = draw(st.sampled_from((zstd(content), content)))
    told = {"stored": len(frames[number]), "raw": len(content)}
    header["frames"][number] |= {**told, "xxh3": xxhash.xxh3_64_hexdigest(frames[number])}
    return sealed(canonical.encode(header), b"".join(frames), magic)


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
    "manifest": lambda: _json_of(manifests),
    "signature": lambda: _json_of(signatures),
}
"""What each reader is sent."""
