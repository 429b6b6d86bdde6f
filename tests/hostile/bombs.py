"""Files of under 1 MiB that claim, or become, very much more, and are not JSON.

Some break a limit; others are as large as the limits let them be.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from spec.header_bytes import encode
from spec.sealing import header_of, prologue, sealed, zstd
from spec.valid_vectors import no_tensor

from dsvd_registry.container.frames import ZSTD_MAGIC

from .crafted_pickles import STORAGE, legacy
from .heavy import safetensors

LARGEST_FRAME = 1 << 26
FREE_FRAME = (1 << 24) + (1 << 22)
Json = dict[str, Any]
Frame = tuple[str, list[tuple[int, int]], int, bytes]  # content, parts, raw size, zstd frame


@functools.cache
def repeated(byte: int, size: int) -> bytes:
    """`size` equal bytes as a zstd frame: a few hundred bytes."""
    return zstd(bytes([byte]) * size, 1)


def container(records: Sequence[Json], frames: Iterable[Frame], **fields: Any) -> bytes:
    """With all checksums right, and whatever it says."""
    header = header_of(no_tensor().build().file)
    frames = list(frames)
    payload = b"".join(stored for *_, stored in frames)
    header["tensors"] = list(records)
    header["frames"] = [
        {
            "content": content,
            "parts": [{"tensor": tensor, "count": count} for tensor, count in parts],
            "raw": raw,
            "stored": len(stored),
            "sha256": hashlib.sha256(stored).hexdigest(),
        }
        for content, parts, raw, stored in frames
    ]
    header["source"]["format"] = "safetensors"
    return sealed(encode(header | fields), payload)


def raw(name: str, size: int) -> Json:
    return {"dtype": "U8", "kind": "raw", "name": name, "reason": "new", "shape": [size]}


def based(name: str, shape: list[int], **fields: Any) -> Json:
    tensor = {"dtype": "F32", "name": name, "shape": shape}
    norms = {"base_norm": 1.0, "norm": 1.0, "error": 0.5}
    base = {"base": [{**tensor, "sha256": "0" * 64}], "view": {"kind": "reshape"}, "new_rows": 0}
    return {**tensor, **base, **norms, **fields}


def low_rank(name: str, rank: int) -> Json:
    ranks = {"rank": rank, "tau_rank": rank, "noise_rank": rank}
    return based(name, [rank, rank], kind="low_rank", **ranks, nuclear_norm=1.0)


def zeros(frames: int, size: int) -> bytes:
    """A raw tensor in so many frames."""
    return container(
        [raw("a", frames * size)], [("bytes", [(0, size)], size, repeated(0, size))] * frames
    )


def elements(frames: int, size: int) -> bytes:
    record = based("a", [frames * size], kind="dense", exponent=0, maximum=100)
    return container([record], [("elements", [(0, size)], size, repeated(200, size))] * frames)


@functools.cache
def table(rank: int) -> bytes:
    """Components of 1 x 1, all of one singular value."""
    one = b"\1" * rank + bytes(3 * rank)
    return zstd(bytes(rank) + one + one + bytes(2 * rank) + b"\x80" * rank + b"\x3f" * rank, 1)


def components(tensors: int, rank: int, padding: int = 0) -> bytes:
    """So many tensors of this rank; `padding`: bytes of the file that do not compress."""
    side = 2 * rank * -(-rank // 5)  # five integers of -1 to 1 in a byte
    together = max(1, FREE_FRAME // side)
    frames: list[Frame] = [("tables", [(i, rank)], 13 * rank, table(rank)) for i in range(tensors)]
    records = [low_rank(f"a{i:06}", rank) for i in range(tensors)]
    if not padding:  # the tables are read first, and then it shows that this is not all
        everything = [(i, rank) for i in range(tensors)]
        frames.append(("components", everything, 1, repeated(2, 1)))
        return container(records, frames)
    noise = random.Random(1).randbytes(padding)
    records.append(raw("b", padding))
    frames.append(("bytes", [(tensors, padding)], padding, zstd(noise, 1)))
    for first in range(0, tensors, together):
        some = range(first, min(first + together, tensors))
        size = side * len(some)
        frames.append(("components", [(i, rank) for i in some], size, repeated(2, size)))
    return container(records, frames)


def source_headers(count: int) -> bytes:
    """Files of a tree, each of whose headers is 16 MiB of white space."""
    size = 1 << 24
    paths = [f"{i:03}.safetensors" for i in range(count)]
    tree = [{"kind": "tensors", "path": path, "prefix": ""} for path in paths]
    results = [{"path": path, "sha256": "0" * 64, "size": 1} for path in paths]
    stored = zstd(b"{" + b" " * (size - 2) + b"}", 1)
    frames: list[Frame] = [("source_header", [], size, stored)] * count
    return container([], frames, tree=tree, results=results)


def _zstd_by_hand(size: int, window_log: int, blocks: bytes) -> bytes:
    """A frame of this content size and window, whatever its blocks become."""
    start = struct.pack("<BBI", 0b1000_0000, (window_log - 10) << 3, size)
    return ZSTD_MAGIC + start + blocks


def _block(kind: int, size: int, data: bytes, *, last: bool = False) -> bytes:
    return struct.pack("<I", size << 3 | kind << 1 | last)[:3] + data


def window() -> bytes:
    """Eight bytes, with a window of 2^27: the most that is let through."""
    stored = _zstd_by_hand(8, 27, _block(0, 8, b"abcdefgh", last=True))
    return container([raw("a", 8)], [("bytes", [(0, 8)], 8, stored)])


def lying_zstd() -> bytes:
    """A frame that states 8 bytes, and becomes 2^31."""
    blocks = _block(1, 1 << 17, b"a") * (1 << 14) + _block(1, 1, b"a", last=True)
    return container([raw("a", 8)], [("bytes", [(0, 8)], 8, _zstd_by_hand(8, 17, blocks))])


def header_of_zeros() -> bytes:
    """Not JSON at all, and 2^31 bytes by its own word in the frame."""
    blocks = _block(1, 1 << 17, b"a") * (1 << 14) + _block(1, 1, b"a", last=True)
    stored = _zstd_by_hand(1 << 31, 17, blocks)
    return prologue(stored, 16 * len(stored)) + stored


def huge_shapes() -> bytes:
    entries = {
        f"{i}": {"dtype": "F64", "shape": [2**52], "data_offsets": [i << 55, (i + 1) << 55]}
        for i in range(100)
    }
    return safetensors(json.dumps(entries).encode())


def empty_and_huge() -> bytes:
    entry = {"dtype": "F64", "shape": [0, *[2**53 - 1] * 31], "data_offsets": [0, 0]}
    return safetensors(json.dumps({f"{i}": entry for i in range(500)}).encode())


def _strided(count: int, shape: int, stride: int) -> bytes:
    """So many tensors of one storage of one number, each of `shape` of them."""
    storage = b"\x80\x02" + STORAGE + b"q\x000}("
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(h\x00I0\n(I%d\nt(I%d\ntI00\n}tR" % (
        shape,
        stride,
    )
    named = b"".join(b"V%d\n" % i + tensor for i in range(count))
    return legacy(storage + named + b"u.")


def zip_of_many() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(9000):
            archive.writestr(zipfile.ZipInfo(f"a/data/{number}"), b"")
        archive.writestr(zipfile.ZipInfo("a/data.pkl"), pickle.dumps({}, 2))
    return file.getvalue()


def zip_that_lies(size: int = 0xFFFFFFF0) -> bytes:
    """An entry of almost 4 GiB, in the directory and in its own header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/data.pkl"), pickle.dumps({}, 2))
    data = bytearray(file.getvalue())
    for magic, at in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):
        struct.pack_into("<II", data, data.index(magic) + at, size, size)
    return bytes(data)


def zip_compressed() -> bytes:
    """A pickle of 512 MiB in half of a MiB."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/data.pkl", "w") as entry,
    ):
        for _ in range(512):
            entry.write(bytes(1 << 20))
    return file.getvalue()


def deflated(storages: int, size: int, *, claimed: int | None = None) -> bytes:
    """A checkpoint with storages of zeros, compressed; `claimed`: what the archive says each takes."""
    file = io.BytesIO()
    torch.save({f"w{i}": torch.zeros(size // 4) for i in range(storages)}, file)
    out = io.BytesIO()
    with (
        zipfile.ZipFile(file) as stored,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    data = bytearray(out.getvalue())
    if claimed is not None:
        for field in (struct.pack("<L", size),):
            while (at := data.find(field)) >= 0:
                data[at : at + 4] = struct.pack("<L", claimed)
    return bytes(data)


REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a frame of 2^26 zeros": ("container", lambda: zeros(1, LARGEST_FRAME)),
    "many frames of 2^26 zeros": ("container", lambda: zeros(100, LARGEST_FRAME)),
    "a frame of 2^26 elements": ("container", lambda: elements(1, LARGEST_FRAME)),
    "2^22 components": ("container", lambda: components(4, 1 << 20)),
    "2^18 components of one tensor": ("container", lambda: components(1, 1 << 18)),
    "2^20 components of many tensors": ("container", lambda: components(2048, 512)),
    "source headers": ("container", lambda: source_headers(64)),
    "zstd that lies": ("container", lying_zstd),
    "a header of 2^31": ("container", header_of_zeros),
    "huge shapes": ("safetensors", huge_shapes),
    "tensors spread over 256 MiB": ("torch_legacy", lambda: _strided(4, 1 << 26, 0)),
    "many spread tensors": ("torch_legacy", lambda: _strided(2000, 1 << 20, 0)),
    "a zip entry that lies": ("torch_zip", zip_that_lies),
    "a compressed zip entry": ("torch_zip", zip_compressed),
    "many zip entries": ("torch_zip", zip_of_many),
    "a deflated storage": ("torch_zip", lambda: deflated(1, 96 << 20)),
    "many deflated storages": ("torch_zip", lambda: deflated(64, 2 << 20)),
    "a deflated storage that says it is small": (
        "torch_zip",
        lambda: deflated(1, 96 << 20, claimed=64),
    ),
}
"""By name: the target of fuzz/ that reads it, and the file."""

READ: dict[str, tuple[str, Callable[[], bytes]]] = {
    "deflated storages as large as they may be": ("torch_zip", lambda: deflated(2, 4 << 20)),
    "a deflated storage as large as it may be": ("torch_zip", lambda: deflated(1, (8 << 20))),
    "free frames of zeros": ("container", lambda: zeros(100, FREE_FRAME)),
    "free frames of elements": ("container", lambda: elements(100, FREE_FRAME)),
    "as many components as there may be": ("container", lambda: components(600, 512, 980_000)),
    "a source header of 2^24": ("container", lambda: source_headers(1)),
    "a window of 2^27": ("container", window),
    "empty tensors of huge shapes": ("safetensors", empty_and_huge),
    "spread tensors": ("torch_legacy", lambda: _strided(16, 1 << 20, 0)),
}
