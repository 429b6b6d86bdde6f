"""A wire that can be cut: a TCP proxy before a server of HTTP, which knows where its messages end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

Fault = Literal["no request", "half a request", "no answer", "half an answer", "late"]
FAULTS: tuple[Fault, ...] = ("no request", "half a request", "no answer", "half an answer", "late")


@dataclass
class Wire:
    """The proxy. `fault` tells what becomes of the request of a number, from 0, by its first line."""

    server: int
    fault: Callable[[int, str], Fault | None] = lambda *_: None
    port: int = 0
    requests: list[str] = field(default_factory=list)
    done: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def carry(self, client: socket.socket) -> None:
        """Carry requests of one connection, and their answers, until it is closed or cut."""
        with (
            contextlib.suppress(OSError, EOFError),
            client,
            socket.create_connection(("127.0.0.1", self.server)) as server,
            client.makefile("rb") as asked,
            server.makefile("rb") as answered,
        ):
            while True:
                head, body = _message(asked, has_body=True)
                line = head.split(b"\r\n")[0].decode()
                with self._lock:
                    fault = self.fault(len(self.requests), line)
                    self.requests.append(line)
                    if fault is not None:
                        self.done.append(fault)
                if fault == "no request":
                    return
                if fault == "half a request":
                    server.sendall((head + body)[: (len(head) + len(body)) // 2])
                    return
                server.sendall(head + body)
                head, body = _message(answered, has_body=not line.startswith("HEAD"))
                if fault == "no answer":
                    return
                if fault == "half an answer":
                    client.sendall((head + body)[: (len(head) + len(body)) // 2])
                    return
                if fault == "late":
                    time.sleep(0.05)
                client.sendall(head + body)


def _message(source: BinaryIO, *, has_body: bool) -> tuple[bytes, bytes]:
    """The head and the body of the next message, as they are on the wire."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = source.readline()
        if not line:
            raise EOFError
        head += line
    lines = [line.split(b":", 1) for line in head.lower().split(b"\r\n") if b":" in line]
    fields = {name: value.strip() for name, value in lines}
    if not has_body or head.split(b" ")[1] in (b"204", b"304"):
        return head, b""
    if fields.get(b"transfer-encoding") != b"chunked":
        size = int(fields.get(b"content-length", b"0"))
        body = source.read(size)
        if len(body) < size:
            raise EOFError
        return head, body
    body = b""
    while True:
        line = source.readline()
        body += line + source.read(int(line.split(b";")[0], 16) + 2)
        if line.strip() == b"0":
            return head, body


@contextlib.contextmanager
def wire(server: int) -> Iterator[Wire]:
    """A wire to a port of this machine, which does no harm before its `fault` is set."""
    made = Wire(server)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made.port = listening.getsockname()[1]

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    threading.Thread(target=made.carry, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
