"""Residuals of under 1 MiB that claim, or become, very much more; as bombs.py has them of containers."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence

from spec.exact import Component
from spec.header_bytes import encode_residual
from spec.residual_building import MAGIC, component_contents, residual_header_of, with_bytes
from spec.residual_vectors_valid import nothing_lacks
from spec.sealing import prologue, zstd

from dsvd_registry.container import limits

from .bombs import Json, _block, _zstd_by_hand, repeated, table

RUN = 1 << 20
Frame = tuple[int, bytes]  # raw size, zstd frame


def residual(tensors: Sequence[Json], frames: Sequence[Frame]) -> bytes:
    """With all checksums right, and whatever it says."""
    header = residual_header_of(nothing_lacks().file)
    header["tensors"] = list(tensors)
    told = {stored: hashlib.sha256(stored).hexdigest() for _, stored in frames}
    header["frames"] = [
        {"raw": raw, "stored": len(stored), "sha256": told[stored]} for raw, stored in frames
    ]
    return with_bytes(encode_residual(header), b"".join(stored for _, stored in frames))


def tensor(name: str, shape: list[int], rank: int = 0, dtype: str = "F32") -> Json:
    return {"dtype": dtype, "name": name, "rank": rank, "shape": shape}


def outside_run(elements: int) -> bytes:
    """A valid run, as large as runs get: all differences are outside of their digits."""
    groups = bytes((0, 255, 0, 16, 4))
    digits, low, rest = (bytes([byte]) * elements for byte in (255, 1, 0))
    return groups + digits + low * 2 + rest * 4


def many_groups(elements: int) -> bytes:
    """256 groups, each with digits of its own; bits of 0 in all."""
    groups = b"".join(bytes((last, 0, 0, 0)) for last in range(256))
    # How many elements each has, follows from the predictions: one too few for any.
    return bytes((255,)) + groups + bytes(elements // 8 + 256)


def runs(count: int, content: bytes, dtype: str = "F32") -> bytes:
    frame = len(content), zstd(content, 1)
    return residual([tensor("a", [count * RUN], dtype=dtype)], [frame] * count)


def zeros(raw: int) -> bytes:
    return residual([tensor("a", [RUN])], [(raw, repeated(0, raw))])


def claimed_rank(rank: int) -> bytes:
    """A tensor of so many own components, in a small file."""
    each = max(1, (1 << 22) // (2 * rank))
    frames: list[Frame] = [(13 * rank, table(rank))]
    sizes = [min(each, rank - first) for first in range(0, rank, each)]
    frames += [(8, zstd(bytes(8), 1))] * min(len(sizes), 1 << 14)
    frames.append((5, zstd(bytes(5), 1)))
    return residual([tensor("a", [rank, rank], rank)], frames)


def components(tensors: int, rank: int, padding: int = 0) -> bytes:
    """So many tensors of this rank; `padding`: bytes of the file that do not compress."""
    run = bytes((0, 255, 0, 0, 0)) + bytes(math.ceil(rank * rank / 8))
    ones = Component(0, (1,) * rank, (1,) * rank, 1.0)
    contents = [*component_contents([ones] * rank), run]
    frames: list[Frame] = [(len(content), zstd(content, 1)) for content in contents] * tensors
    records = [tensor(f"a{i:06}", [rank, rank], rank) for i in range(tensors)]
    if padding:
        elements = padding // 3
        noise = random.Random(1).randbytes(3 * elements)
        content = bytes((0, 255, 0, 24, 4)) + bytes(elements) + noise
        records.append(tensor("b", [elements]))
        frames.append((len(content), zstd(content, 1)))
    return residual(records, frames)


def window() -> bytes:
    content = bytes((0, 255, 0, 0, 4, 0, 0, 0, 0))
    stored = _zstd_by_hand(9, 27, _block(0, 9, content, last=True))
    return residual([tensor("a", [4])], [(9, stored)])


def lying_zstd() -> bytes:
    """A frame that states 8 bytes, and becomes 2^31."""
    blocks = _block(1, 1 << 17, b"a") * (1 << 14) + _block(1, 1, b"a", last=True)
    return residual([tensor("a", [4])], [(8, _zstd_by_hand(8, 17, blocks))])


def header_of_zeros() -> bytes:
    blocks = _block(1, 1 << 17, b"a") * (1 << 14) + _block(1, 1, b"a", last=True)
    stored = _zstd_by_hand(1 << 31, 17, blocks)
    return prologue(stored, 16 * len(stored), MAGIC) + stored


def filled(field: str, entry: Callable[[int], object]) -> bytes:
    """A valid header but for what stands in one list: all that the limits allow."""
    header = residual_header_of(nothing_lacks().file)
    most = limits.FREE_DIMENSIONS // 32 if field == "tensors" else limits.FREE_ENTRIES - 2
    header[field] = [entry(i) for i in range(min(most, limits.MAX_FILES))]
    return with_bytes(encode_residual(header), b"")


ENTRIES: dict[str, tuple[str, Callable[[int], object]]] = {
    "tensors": ("tensors", lambda i: tensor(f"{i:06x}", [1])),
    "dimensions": ("tensors", lambda i: tensor(f"{i:06x}", [1] * 32)),
    "frames": ("frames", lambda i: {"raw": 1, "stored": 1, "sha256": f"{i:064x}"}),
}

REFUSED: dict[str, Callable[[], bytes]] = {
    "a run of 2^26 zeros": lambda: zeros(1 << 26),
    "a run over its bound": lambda: zeros(9 * RUN + 1026),
    "2^22 own components": lambda: claimed_rank(1 << 22),
    "2^18 own components": lambda: claimed_rank(1 << 18),
    "too many own components of many tensors": lambda: components(700, 512),
    "runs of 2^40 elements": lambda: residual([tensor("a", [1 << 40])], []),
    "groups without end": lambda: runs(8, many_groups(RUN)),
    "zstd that lies in a run": lying_zstd,
    "a residual's header of 2^31": header_of_zeros,
    **{f"a residual's {name}": lambda e=entry: filled(*e) for name, entry in ENTRIES.items()},
}

READ: dict[str, Callable[[], bytes]] = {
    "a residual's results": lambda: filled(
        "results", lambda i: {"path": f"{i:06x}", "sha256": "0" * 64, "size": 1}
    ),
    "runs of zeros in digits": lambda: runs(64, bytes((0, 255, 0, 0, 0)) + bytes(RUN // 8)),
    "runs as large as they get": lambda: runs(64, outside_run(RUN)),
    "runs of half precision": lambda: runs(
        64, bytes((0, 63, 0, 15, 4)) + bytes(RUN) + b"\1" * (2 * RUN), dtype="F16"
    ),
    "a residual's window of 2^27": window,
    "as many own components as there may be": lambda: components(500, 512, 280_000),
}
