"""A registry with files larger than what sockets hold, so that a response can be met halfway."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from trained_pair import one_thread

from dsvd_registry import Registry

from .running import SECONDS, RunningServer

ROWS, COLUMNS, TENSORS = 512, 8192, 4  # of 16 MiB each


@dataclass(frozen=True)
class Large:
    """A registry with the base `base`, linked to `base_file`, and `tuned@1`, which gives `tuned`."""

    registry: Path
    base_file: Path
    tuned: bytes


def make_large(place: Path) -> Large:
    make = torch.Generator().manual_seed(4)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=make)

    base = {f"layer{n}.weight": numbers(ROWS, COLUMNS) for n in range(TENSORS)}
    tuned = {
        name: weight + 0.01 * numbers(ROWS, 2) @ numbers(2, COLUMNS)
        for name, weight in base.items()
    }
    save_file(base, place / "base.safetensors")
    save_file(tuned, place / "tuned.safetensors")
    with one_thread(), Registry.init(place / "registry") as registry:
        registry.add_base("base", place / "base.safetensors", link=True)
        registry.add(place / "tuned.safetensors", base="base", name="tuned", tau=0.5)
        registry.materialize("tuned", place / "made.safetensors")
    made = (place / "made.safetensors").read_bytes()
    return Large(place / "registry", place / "base.safetensors", made)


@contextlib.contextmanager
def slow_reader(server: RunningServer, path: str) -> Iterator[socket.socket]:
    """A connection that has asked for a file, and whose buffers hold little of it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.settimeout(SECONDS)
        connection.connect(server.address)
        host, port = server.address
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        yield connection


def received(connection: socket.socket, size: int | None = None) -> bytes:
    """At least `size` bytes from a connection, or all until it is closed or cut off."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while size is None or len(data) < size:
            part = connection.recv(1 << 20)
            if not part:
                break
            data += part
    return bytes(data)


def flip(path: Path, offset: int) -> None:
    """Change one byte of a file, which need not be writable."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
        os.fsync(file.fileno())
    path.chmod(mode)
