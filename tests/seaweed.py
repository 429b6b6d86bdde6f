"""A SeaweedFS server of the tests' own: object storage by the protocol of S3, with several users."""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

BUCKET = "studio"
USERS = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "writer": ["Read", "Write", "List"],
    "reader": ["Read", "List"],
    "nolist": ["Read", "Write"],
}
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Seaweed:
    """A running server. Each user's access key is the name, the secret `NAME-secret`."""

    port: int

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, user: str = "writer", endpoint: str | None = None) -> dict[str, str]:
        """The variables by which a client finds the server, and the credential of a user."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": f"{user}-secret",
        }


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Seaweed]:
    """A server with its data in `folder` and one empty bucket, `BUCKET`; killed on leaving."""
    config = folder / "s3.json"
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}],
            "actions": actions,
        }
        for name, actions in USERS.items()
    ]
    config.write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    with contextlib.ExitStack() as leaving:
        ports = [port for _ in range(8) if (port := leaving.enter_context(_free_port()))]
    named = dict(zip([n for p in _PORTS for n in (p, f"{p}.grpc")], ports, strict=True))
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
    arguments = [
        program, "-logtostderr=true", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}", "-s3.port.iceberg=0",
        "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=0",
        "-master.volumeSizeLimitMB=256", *(f"-{name}={port}" for name, port in named.items()),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            arguments,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_the_tests,
        )
    try:
        seaweed = Seaweed(named["s3.port"])
        _make_bucket(seaweed, server, folder / "log")
        yield seaweed
    finally:
        server.kill()
        server.wait()
        for name, port in named.items():  # the sockets that it leaves beside its ports
            kind = name.replace(".port", "").replace(".", "-")
            Path(f"/tmp/seaweedfs-{kind}-{port}.sock").unlink(missing_ok=True)


@contextlib.contextmanager
def _free_port() -> Iterator[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


def _die_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _make_bucket(seaweed: Seaweed, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server takes a bucket. Its making is signed by the client that is tested."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=seaweed.endpoint,
        access_key_id="admin",
        secret_access_key="admin-secret",
        region="us-east-1",
        client_options={"allow_http": True},
    )
    until = time.monotonic() + 60
    while True:
        request = urllib.request.Request(
            obstore.sign(store, "PUT", "", timedelta(minutes=1)), method="PUT"
        )
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except (OSError, urllib.error.HTTPError):
            if server.poll() is not None or time.monotonic() > until:
                raise AssertionError(log.read_text()[-3000:]) from None
            time.sleep(0.1)
