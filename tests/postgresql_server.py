"""A real PostgreSQL server for the tests: one for each of pytest's processes, when a test needs it."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

USER = "dsvd"
# Nothing here has to survive a loss of power.
IN_A_HURRY = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
SMALL = {"max_connections": "120", "shared_buffers": "32MB"}


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server. Connections over TCP need the password."""

    sockets: Path
    port: int
    password: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str) -> str:
        """The URL of a database, through the server's socket."""
        return f"postgresql://{USER}@/{database}?host={self.sockets}&port={self.port}"

    def url_over_tcp(self, database: str, password: str) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of a statement that may not be in a transaction."""
        where = f"host={self.sockets} port={self.port} user={USER} dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def database(self, template: str = "template0", more: str = "") -> Iterator[str]:
        """The name of a new database, which is dropped at the end whoever is connected."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} {more}")
        try:
            yield name
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def started(settings: Mapping[str, str] = IN_A_HURRY) -> Iterator[PostgresqlServer]:
    """A new server in a folder of its own, run by a user that is not root, which PostgreSQL refuses."""
    place, password = Path(tempfile.mkdtemp(prefix="dsvd-pg-", dir="/tmp")), secrets.token_hex(8)
    try:
        run_as: dict[str, Any] = _unprivileged(place)
        (place / "password").write_text(password)
        subprocess.run(
            [
                *(_program("initdb"), "--pgdata", str(place / "data"), "--username", USER),
                *("--auth-local", "trust", "--auth-host", "scram-sha-256"),
                *("--pwfile", str(place / "password"), "--encoding", "UTF8"),
                # It sorts texts otherwise than by their bytes, as most servers do.
                *("--locale", "C", "--locale-provider", "icu", "--icu-locale", "en-US"),
                "--no-sync",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **run_as,
        )
        port = _free_port()
        options = [f"-c{name}={value}" for name, value in {**SMALL, **settings}.items()]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(_program("postgres"), "-D", str(place / "data"), "-k", str(place)),
                    *("-h", "127.0.0.1", "-p", str(port), *options),
                ],
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
                **run_as,
            )
        server = PostgresqlServer(place, port, password)
        try:
            _wait(server, process, place / "log")
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # ends connections, and then itself
            process.wait()
    finally:
        shutil.rmtree(place)


def _wait(server: PostgresqlServer, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            server.run("SELECT 1")
            return
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)


def _program(name: str) -> str:
    """A program of the server; Debian keeps them out of PATH."""
    found = shutil.which(name) or max(
        map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None
    )
    assert found is not None, f"{name} is not installed: the tests need the package postgresql"
    return found


def _unprivileged(place: Path) -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(place, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": place}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """The server ends even if the tests are killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG
