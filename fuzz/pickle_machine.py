"""A fuzz target: a pickle alone, and the state dict in it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.checkpoint.pickle_machine import read_pickle, steps_allowed
from dsvd_registry.checkpoint.state_dict import select_state_dict

STORAGE = b"(Vstorage\nctorch\nFloatStorage\nVk\nVcpu\nI1\ntQ"
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + STORAGE
    + b"I0\n(I1\nt(I1\ntI00\nccollections\nOrderedDict\n)RtR"
)


def seeds() -> Iterator[bytes]:
    yield b"\x80\x02}Va\n" + TENSOR + b"s."
    yield b"\x80\x04}\x8c\x01a\x94" + TENSOR + b"\x94s\x8c\x01b(K\x01K\x02e]\x94(N\x88\x89es."
    yield b"\x80\x02}Vx\nctorch._tensor\n_rebuild_from_type_v2\n(cnumpy\nndarray\n)tRs."


def read(data: bytes, folder: Path) -> None:
    steps = steps_allowed(len(data))
    select_state_dict(read_pickle(io.BytesIO(data), steps), steps)
