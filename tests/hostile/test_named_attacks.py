"""Attacks that have names, on every reader that each concerns. What is not here has its test beside
its reader: tests/spec/invalid_vectors.py (frames, bounds, sizes and paths of containers, each refused
by both readers), tests/checkpoint (pickles that run code, zip archives that lie), tests/store (links).
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from spec.header_bytes import encode
from spec.sealing import MAGIC, header_of, payload_of, sealed
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.checkpoint.folder_listing import check_paths
from dsvd_registry.errors import (
    BaseMismatch,
    CheckpointError,
    DsvdError,
    InvalidArgument,
    RegistryError,
)
from dsvd_registry.store import ObjectStore
from dsvd_registry.store.names import check_name
from dsvd_registry.store.registry_folder import create

from .crafted_pickles import MACHINE, legacy
from .reading import READERS
from .strategies import containers, listings, logged_events, safetensors_files

SECONDS = 5

# How a JSON text is put where each reader takes it from.
SEALED: dict[str, Callable[[bytes], bytes]] = {
    "checkpoint": lambda text: struct.pack("<Q", len(text)) + text + bytes(26),
    "lora": lambda text: struct.pack("<Q", len(text)) + text + bytes(26),
    "listing": lambda text: text,
    "log": lambda text: text,
}
TEXTS: dict[str, Callable[[], bytes]] = {
    "checkpoint": lambda: _header(safetensors_files()[0]),
    "lora": lambda: _header(safetensors_files()[1]),
    "listing": lambda: listings()[0],
    "log": lambda: logged_events()[0],
}
of_json = pytest.mark.parametrize("reader", SEALED)


def _header(file: bytes) -> bytes:
    return file[8 : 8 + struct.unpack_from("<Q", file)[0]].rstrip()


def refused(reader: str, data: bytes, folder: Path) -> str:
    """The message; in bounded time."""
    start = time.process_time()
    with pytest.raises(DsvdError) as caught:
        READERS[reader](data, folder)
    assert time.process_time() - start < SECONDS
    return str(caught.value)


def with_number(reader: str, number: bytes) -> bytes:
    """The reader's text with `number` for its first integer."""
    field = {"checkpoint": b'"shape":[', "lora": b'"shape":['}
    field |= {"listing": b'"size":', "log": b'"number":'}
    text = TEXTS[reader]()
    at = text.index(field[reader]) + len(field[reader])
    end = next(i for i in range(at, len(text)) if text[i : i + 1] not in b"0123456789")
    return text[:at] + number + text[end:]


LENGTHS = (0, 1, 2**31, 2**33, 2**63, 2**64 - 1)


@pytest.mark.parametrize("length", [*LENGTHS, "less", "more"])
def test_header_length_of_safetensors(tmp_path: Path, length: int | str) -> None:
    """Seen to fail: without the two checks of `_header_bytes`, 2^31 and all above are read as JSON."""
    file = safetensors_files()[0]
    (right,) = struct.unpack_from("<Q", file)
    number = {"less": right - 1, "more": right + 1}.get(str(length), length)
    message = refused("checkpoint", struct.pack("<Q", number) + file[8:], tmp_path)
    if isinstance(length, int) and length > 1:
        assert "more than" in message


@pytest.mark.parametrize("field", [12, 16])
@pytest.mark.parametrize("length", [0, 1, 2**26 + 2**20, 2**31, 2**32 - 1, "less", "more"])
def test_header_length_of_a_container(tmp_path: Path, field: int, length: int | str) -> None:
    """S and H, under a right digest."""
    file = bytearray(containers()[0])
    (stored,) = struct.unpack_from("<I", file, 12)
    (right,) = struct.unpack_from("<I", file, field)
    number = {"less": right - 1, "more": right + 1}.get(str(length), length)
    struct.pack_into("<I", file, field, number)
    file[24:56] = hashlib.sha256(bytes(file[:24]) + bytes(file[56 : 56 + stored])).digest()
    assert bytes(file).startswith(MAGIC)
    message = refused("container", bytes(file), tmp_path)
    if isinstance(length, int) and length >= 2**31:
        assert "over its limit" in message


@of_json
@pytest.mark.parametrize("depth", [1000, 100_000])
@pytest.mark.parametrize("mark", [b"[", b'{"a":'])
def test_deep_json(tmp_path: Path, reader: str, depth: int, mark: bytes) -> None:
    """Seen to fail: without RecursionError in `canonical.decode` and `_load_json` it gets out."""
    refused(reader, SEALED[reader](with_number(reader, mark * depth)), tmp_path)
    closed = mark * depth + b"1" + {b"[": b"]"}.get(mark, b"}") * depth
    refused(reader, SEALED[reader](with_number(reader, closed)), tmp_path)


@of_json
def test_huge_json(tmp_path: Path, reader: str) -> None:
    """17 MiB. How much memory the largest take: test_memory.py."""
    refused(reader, SEALED[reader](b"[" + b"1," * (17 << 19) + b"1]"), tmp_path)


@of_json
def test_duplicate_keys(tmp_path: Path, reader: str) -> None:
    """Seen to fail: without `_object` the checkpoint reader takes the last of both."""
    text = TEXTS[reader]()
    key = text[1 if text[:1] == b"{" else 2 :].split(b":", 1)[0]
    twice = text.replace(key, key + b":0," + key, 1)
    assert json.loads(twice) == json.loads(text)
    refused(reader, SEALED[reader](twice), tmp_path)


@of_json
@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"-0", b"1e3", b"1.0"])
def test_nan_and_other_numbers(tmp_path: Path, reader: str, number: bytes) -> None:
    """Seen to fail: without the comparison in `canonical.decode`, the log's -0 is read as 0. The
    others are refused twice: as a spelling, and as what no field takes."""
    refused(reader, SEALED[reader](with_number(reader, number)), tmp_path)


@of_json
@pytest.mark.parametrize("digits", [20, 5000, 1_000_000])
def test_integer_of_so_many_digits(tmp_path: Path, reader: str, digits: int) -> None:
    """Seen to fail: without the bound on sizes in `parse_listing`, a listing has one of 20 digits. The
    checkpoint reader refuses them twice: `_natural`, and the rules of shapes."""
    message = refused(reader, SEALED[reader](with_number(reader, b"9" * digits)), tmp_path)
    assert len(message) < 1000


@pytest.mark.parametrize("reader", ["container", "checkpoint"])
@pytest.mark.parametrize("shape", [[2**32] * 2, [2**31, 2**33], [2**53 - 1] * 32, [0, 2**63]])
def test_shape_whose_product_overflows(tmp_path: Path, reader: str, shape: list[int]) -> None:
    """2^32 x 2^32 is 0 in 64 bits."""
    if reader == "container":
        header = header_of(containers()[0])
        header["tensors"][0]["shape"] = shape
        refused(reader, sealed(encode(header), payload_of(containers()[0])), tmp_path)
        return
    value: Any = json.loads(TEXTS[reader]())
    value["a"]["shape"] = shape
    refused(reader, SEALED[reader](json.dumps(value).encode()), tmp_path)


NAMES = {
    "parent": "..",
    "parent within": "a/../../b",
    "separator": "a/b",
    "backslash": "a\\b",
    "absolute": "/etc/passwd",
    "drive": "C:x",
    "NUL": "a\0b",
    "control": "a\x1bb",
    "line": "a\nb",
    "bidi mark": "a\u202egnp",
    "device": "CON",
    "device with an end": "nul.safetensors",
    "ends in a dot": "a.",
    "ends in a space": "a ",
    "decomposed": "e\u0301",
    "composed": "\u00e9",
    "full width": "\uff0e\uff0e",
    "half a surrogate": "\ud800",
}


@pytest.mark.parametrize("name", NAMES)
def test_name_of_a_model(name: str) -> None:
    """Composed and decomposed twins cannot meet: names are ASCII.

    Seen to fail: with `_PATTERN` as `(?s:.+)`."""
    with pytest.raises(InvalidArgument) as caught:
        check_name("model", NAMES[name])
    assert str(caught.value).isprintable()


PATHS = [
    name for name in NAMES if name not in ("separator", "bidi mark", "device", "device with an end")
]


@pytest.mark.parametrize(
    "name", [n for n in PATHS if n not in ("decomposed", "composed", "full width")]
)
def test_path_of_a_folder(name: str) -> None:
    """A path of a tree or a listing that would leave the folder.

    Seen to fail: with the call of `_check_path` gone."""
    with pytest.raises(CheckpointError) as caught:
        check_paths([NAMES[name]])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("place", ["object", "shard"])
def test_link_planted_as(tmp_path: Path, place: str) -> None:
    """Seen to fail: with `stat` for `lstat` in `_status`, and without `is_symlink` in `_place`, the
    secret is read as the object."""
    folder = create(tmp_path / "registry")
    objects = ObjectStore(folder)
    stored = objects.put(b"whole")
    elsewhere = tmp_path / "elsewhere"
    path = objects.local_file(stored.sha256)
    planted = path if place == "object" else path.parent
    planted.rename(elsewhere)
    planted.symlink_to(elsewhere)
    for act in (objects.local_file, objects.contains, objects.check, objects.remove):
        with pytest.raises(RegistryError):
            act(stored.sha256)
    with pytest.raises(RegistryError):
        objects.put(b"whole")
    assert elsewhere.exists() and not list(objects.all())


def test_link_planted_as_a_temporary_file(tmp_path: Path) -> None:
    """Names of temporary files cannot be foreseen; a link under one is removed, and not followed."""
    folder = create(tmp_path / "registry")
    objects = ObjectStore(folder)
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    with objects.new_object() as writer:
        (made,) = objects.leftovers()
        writer.write(b"new")
        writer.commit()
    made.symlink_to(target)
    objects.put(b"more")
    assert target.read_bytes() == b"precious"


def test_folder_with_links_out_of_it(tmp_path: Path) -> None:
    """A linked folder is not walked into, and said to be left out. Seen to fail: with `followlinks`."""
    folder, outside = tmp_path / "model", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret.json").write_bytes(b"{}")
    (folder / "config.json").write_bytes(b"{}")
    (folder / "x.safetensors").write_bytes(safetensors_files()[0])
    (folder / "linked").symlink_to(outside)
    (folder / "round").symlink_to(folder)
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.tree is not None
        assert {file.path for file in checkpoint.tree.others} == {"config.json"}
        assert {entry.name for entry in checkpoint.left_out} == {"linked", "round"}


# Names that a restricted unpickler let through, and what they led to.
BYPASSES = {
    "dotted name": b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c\x011\x85R.",
    "name through torch": b"ctorch.serialization\nos.system\n(V{touch}\ntR.",
    "numpy's loader": b"cnumpy.core.multiarray\n_reconstruct.__globals__\n(tR.",
    "hub": b"ctorch.hub\nload\n(V{touch}\ntR.",
    "compiler": b"ctorch._inductor.codecache\nAsyncCompile\n(V{touch}\ntR.",
    "extension registry": b"\x80\x02\x82\x01.",
    "setstate": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81}U\x01a0b.",
    "persistent id that is a call": b"(Vmodule\ncposix\nsystem\nV{touch}\nVcpu\nI1\ntQ.",
    "storage of a class": b"(Vstorage\ncposix\nsystem\nVk\nVcpu\nI1\ntQ.",
    "sparse tensor": b"ctorch._utils\n_rebuild_sparse_tensor\n(cposix\nsystem\n(V{touch}\nttR.",
    "device tensor": b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n(cposix\nsystem\nV{touch}\ntR.",
    "python object in a storage": b"ctorch._utils\n_rebuild_wrapper_subclass\n(cposix\nsystem\ntR.",
}


@pytest.mark.parametrize("name", BYPASSES)
def test_bypass_of_weights_only(tmp_path: Path, name: str) -> None:
    """Nothing is imported or called, whatever it is named: it ends in an error, as no state dict.
    That such payloads do run elsewhere: tests/checkpoint/test_pickle_machine.py."""
    canary = tmp_path / "canary"
    payload = BYPASSES[name].replace(b"{touch}", b"touch " + os.fsencode(canary))
    refused("checkpoint", legacy(payload), tmp_path)
    refused(
        "checkpoint",
        legacy(b"\x80\x02}U\x01a" + payload.removeprefix(b"\x80\x04")[:-1] + b"s."),
        tmp_path,
    )
    assert not canary.exists()


def test_legacy_magic_number_that_lies(tmp_path: Path) -> None:
    """A first pickle that equals the magic number only by its own word."""
    start = b"cposix\nsystem\n." + b"".join(pickle.dumps(value, 2) for value in (1001, MACHINE))
    refused("checkpoint", b"\x80\x02" + start, tmp_path)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.usefixtures("_one_thread")
def test_fine_tune_made_to_look_like_another_base(tmp_path: Path) -> None:
    """The same names, shapes and metadata as the base of the container, other weights: its digest tells.

    Two checks stand one behind the other. With that of the whole base's digest gone (`_base_of`) the
    digests of its tensors still refuse it; with both gone it has not been tried.
    """
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    base = {"w": torch.randn(16, 24), "b": torch.randn(16)}
    other = {name: tensor + 1e-3 for name, tensor in base.items()}
    tuned = {name: tensor + 1e-2 * torch.randn_like(tensor) for name, tensor in base.items()}
    files = {"base": base, "other": other, "tuned": tuned}
    for name, tensors in files.items():
        save_file(tensors, tmp_path / f"{name}.safetensors", {"format": "pt", "base": "base"})
    exported = tmp_path / "x.dsvd"
    with Registry.init(tmp_path / "one") as registry:
        registry.add_base("base", tmp_path / "base.safetensors")
        registry.add(tmp_path / "tuned.safetensors", base="base", name="subject")
        registry.export_container("subject", exported)
    with Registry.init(tmp_path / "two") as registry:
        registry.add_base("base", tmp_path / "other.safetensors")
        with pytest.raises(BaseMismatch):
            registry.import_container(exported, name="subject")
        assert not registry.versions()
