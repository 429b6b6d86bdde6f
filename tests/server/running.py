"""A server in a process of its own, and plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600  # in which anything asked of a server must have happened


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without proxies and with the package to be found."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    paths = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    return {**kept, "PYTHONPATH": paths, **more}


@dataclass(frozen=True)
class Answer:
    """The status, the headers in lower case and the body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RunningServer:
    """A server that runs. `log`: the file of what it prints on stderr."""

    url: str
    log: Path
    process: subprocess.Popen[str]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None and parts.port is not None
        return parts.hostname, parts.port

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request over a connection of its own; `_` in a header's name stands for `-`."""
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def raw(self, sent: bytes) -> bytes:
        """Everything that the server answers to these bytes until it closes the connection."""
        with socket.create_connection(self.address, SECONDS) as connection:
            connection.sendall(sent)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(1 << 16):
                    received += part
            return received

    def figure(self, name: str, **token: str) -> float:
        """The value of a metric, given as Prometheus writes it, labels included."""
        text = self.get("/metrics", **token).body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None, f"{name} is not in {text}"
        return float(found[1])

    def logged(self) -> str:
        return self.log.read_text()


@contextlib.contextmanager
def serving(
    registry: Path | str, where: Path, *options: str, **more: str
) -> Iterator[RunningServer]:
    """Run `dsvd serve` on a free port. At the end it must end by itself, without a traceback."""
    where.mkdir(parents=True, exist_ok=True)
    log = where / "log"
    words = ("--registry", str(registry), "serve", "--port", "0", "--json", *options)
    with (
        log.open("w") as errors,
        subprocess.Popen(
            (sys.executable, "-m", "dsvd_registry.cli", *words),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(
                **{"PYTHONWARNINGS": "error", "DSVD_CACHE": str(where / "cache"), **more}
            ),
        ) as process,
    ):
        try:
            assert process.stdout is not None
            lines = ""
            while not lines.endswith("}\n"):
                line = process.stdout.readline()
                assert line, log.read_text()
                lines += line
            yield RunningServer(json.loads(lines)["url"], log, process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    logged = log.read_text()
    assert "Traceback" not in logged, logged
