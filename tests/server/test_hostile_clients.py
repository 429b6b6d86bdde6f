"""Clients that mean harm, that are slow, that leave, and that are many."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.server.body import LARGEST_BODY
from dsvd_registry.server.run import LARGEST_HEADER

from .conftest import Shelf
from .large import Large, make_large, received, slow_reader
from .running import SECONDS, RunningServer, serving

CLIENTS = 200
OUTSIDE = [
    "../../../../../../etc/passwd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "file:///etc/passwd",
    "registry.json",
    "%00",
    "model_index.json%00.png",
    "%c0%ae%c0%ae/etc/passwd",
    "unet/../model_index.json",
    "./model_index.json",
    "model_index.json/",
    "x" * 4000,
]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Large:
    return make_large(tmp_path_factory.mktemp("large"))


def eventually(server: RunningServer, name: str, value: float) -> None:
    """Wait until a metric has this value."""
    end = time.monotonic() + SECONDS
    while server.figure(name) != value:
        assert time.monotonic() < end, f"{name} is {server.figure(name)}, not {value}"
        time.sleep(0.02)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_a_path_is_looked_up_and_never_joined(server: RunningServer, outside: str) -> None:
    port = server.address[1]
    for before in (
        "/dsvd/exact/resolve/main/",
        "/dsvd/exact/resolve/",
        "/bases/pipeline/resolve/main/",
        "/v1/materialize/exact/",
        "/v1/materialize/",
        "/api/models/dsvd/exact/tree/main/",
        "/api/models/",
        "/api/v1/versions/",
        "/",
    ):
        sent = (
            f"GET {before}{outside} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        )
        answer = server.raw(sent.encode())
        assert answer.split(b" ", 2)[1] == b"404", (before, answer[:200])
        assert b"root:" not in answer


@pytest.mark.parametrize(
    "target",
    [
        "/dsvd/exact/resolve/main/x%0d%0aX-Evil:%20yes",
        "/dsvd/exact%0d%0aX-Evil:%20yes/resolve/main/x",
        "/v1/materialize/exact%0aX-Evil:yes",
        "/api/v1/find?digest=%0d%0aX-Evil:%20yes",
        "/api/models/dsvd/exact/tree/main?limit=1&x=%0d%0aX-Evil:%20yes",
        "/api/models/dsvd/exact/tree/main?limit=1&cursor=%0d%0aX-Evil:%20yes",
    ],
)
def test_no_header_comes_from_a_request(server: RunningServer, target: str) -> None:
    found = server.get(target)
    assert "x-evil" not in found.headers
    assert found.status in (200, 400, 404)


BROKEN = [
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",  # the start of TLS
    b"GET /healthz HTTP/9.9\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"G\x00T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /api/models/dsvd/exact/paths-info/main HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET /" + b"a" * 2 * LARGEST_HEADER + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * LARGEST_HEADER + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (LARGEST_HEADER // 2) + b"\r\n",
]


@pytest.mark.parametrize("sent", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_request_is_refused(server: RunningServer, sent: bytes) -> None:
    answer = server.raw(sent)
    assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"404", b"421", b"431")
    assert server.get("/healthz").status == 200


def test_a_client_that_leaves_within_its_body(server: RunningServer) -> None:
    host = f"Host: localhost:{server.address[1]}\r\n".encode()
    post = b"POST /api/models/dsvd/exact/paths-info/main HTTP/1.1\r\n" + host
    name = 'dsvd_requests_total{method="POST",route="%s",status="400"}'
    route = name % "/api/models/dsvd/{name}/paths-info/{revision}"
    for sent in (
        b"Content-Length: 100\r\n\r\npaths=",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ):
        before = server.figure(route) if route in server.get("/metrics").body.decode() else 0
        with socket.create_connection(server.address, SECONDS) as leaving:
            leaving.sendall(post + sent)
        eventually(server, route, before + 1)


def test_bodies_have_a_largest_size_and_a_form(server: RunningServer) -> None:
    path = "/api/models/dsvd/exact/paths-info/main"
    form, json_ = "application/x-www-form-urlencoded", "application/json"
    found = server.request("POST", path, b"paths=" + b"x" * LARGEST_BODY, Content_Type=form)
    assert found.status == 413
    for body, kind in (
        (b"", form),
        (b"other=1", form),
        (b"paths=\xff", form),
        (b"paths=x&expand=maybe", form),
        (b"{", json_),
        (b"[]", json_),
        (b'{"paths": "unet"}', json_),
        (b'{"paths": [1]}', json_),
        (b'{"paths": ["unet"], "expand": 3}', json_),
        (b"[" * 100_000, json_),
    ):
        assert server.request("POST", path, body, Content_Type=kind).status == 400


def test_what_does_not_come_is_not_waited_for(server: RunningServer) -> None:
    """A request line, a header and a body that stop halfway, and a connection that says nothing."""
    host = f"Host: localhost:{server.address[1]}\r\n".encode()
    post = b"POST /api/models/dsvd/exact/paths-info/main HTTP/1.1\r\n" + host
    starts = {
        b"": b"",
        b"GET /healthz HT": b"",
        b"GET /healthz HTTP/1.1\r\n" + host: b"",
        b"GET /healthz HTTP/1.1\r\n" + host + b"\r\nGET /healthz HT": b"200",
        post + b"Content-Length: 100\r\n\r\npaths=": b"408",
    }
    with ThreadPoolExecutor(len(starts)) as clients:
        answers = list(clients.map(server.raw, starts))
    for answer, status in zip(answers, starts.values(), strict=True):
        assert answer == b"" if not status else answer.split(b" ", 2)[1] == status


def test_a_slow_reader_keeps_nobody_waiting(large: Large, tmp_path: Path) -> None:
    """With a single place for work, which a reader that stands still does not hold."""
    with (
        serving(large.registry, tmp_path, "--at-once", "1") as server,
        slow_reader(server, "/v1/materialize/tuned") as slow,
    ):
        start = received(slow, 1 << 16)
        assert server.get("/v1/materialize/tuned").body == large.tuned
        eventually(server, "dsvd_responses_open", 1)
        head, _, body = (start + received(slow, len(large.tuned) - (1 << 16))).partition(
            b"\r\n\r\n"
        )
        assert b" 200 " in head
        rest = len(large.tuned) - len(body)
        assert body + received(slow, rest)[:rest] == large.tuned if rest else body == large.tuned


def test_the_work_for_a_client_that_leaves_stops(large: Large, tmp_path: Path) -> None:
    with serving(large.registry, tmp_path) as server:
        for path in ("/v1/materialize/tuned", "/dsvd/tuned/resolve/main/model.safetensors"):
            before = server.figure("dsvd_bytes_made_total")
            left = server.figure('dsvd_responses_broken_off_total{reason="client left"}')
            with slow_reader(server, path) as leaving:
                received(leaving, 1 << 16)
            eventually(server, 'dsvd_responses_broken_off_total{reason="client left"}', left + 1)
            eventually(server, "dsvd_responses_open", 0)
            assert 0 < server.figure("dsvd_bytes_made_total") - before < len(large.tuned)
        assert server.figure("dsvd_requests_making") == 0


def test_who_waits_too_long_is_told_to_come_again(shelf: Shelf, tmp_path: Path) -> None:
    """The only place is held by a read of a linked base, in whose place a pipe waits for a writer."""
    linked = tmp_path / "linked.safetensors"
    linked.write_bytes(shelf.base_file.read_bytes())
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("linked", linked, link=True)
    linked.unlink()
    os.mkfifo(linked)
    path = "/bases/linked/resolve/main/model.safetensors"
    with (
        serving(tmp_path / "registry", tmp_path, "--at-once", "1", "--wait", "0.3") as server,
        ThreadPoolExecutor(1) as clients,
    ):
        holding = clients.submit(server.get, path)
        end = time.monotonic() + SECONDS
        while (found := server.get("/api/v1/usage")).status == 200:  # not held yet
            assert time.monotonic() < end
        assert (found.status, found.document["type"]) == (503, "Busy")
        assert int(found.headers["retry-after"]) > 0
        assert server.get("/api/v1/models").status == 200  # the catalog alone needs no place
        with linked.open("wb"):
            pass
        assert holding.result(SECONDS).status == 500
        assert server.get("/api/v1/usage").status == 200
        assert server.figure("dsvd_requests_waiting") == 0


def test_many_clients_at_once_get_the_right_bytes(shelf: Shelf, tmp_path: Path) -> None:
    """Each asks three times, all at the same moment, for random parts of several files."""
    files = {
        "/v1/materialize/single": shelf.tuned_file.read_bytes(),
        "/dsvd/exact/resolve/main/unet/config.json": (
            shelf.tuned / "unet/config.json"
        ).read_bytes(),
        "/bases/pipeline/resolve/main/vae/config.json": (
            shelf.base / "vae/config.json"
        ).read_bytes(),
        "/v1/materialize/subject@1/vae/diffusion_pytorch_model.safetensors": (
            shelf.truth("subject@1") / "vae/diffusion_pytorch_model.safetensors"
        ).read_bytes(),
    }
    together = threading.Barrier(CLIENTS)

    def client(number: int) -> int:
        chosen, right = random.Random(number), 0
        together.wait(SECONDS)
        for path in chosen.sample(list(files), 3):
            truth = files[path]
            start = chosen.randrange(len(truth))
            size = chosen.randrange(1, 100_000)
            found = server.get(path, Range=f"bytes={start}-{start + size - 1}")
            right += (found.status, found.body) == (206, truth[start : start + size])
        return right

    with (
        serving(shelf.registry, tmp_path, "--wait", "60") as server,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        assert list(clients.map(client, range(CLIENTS))) == [3] * CLIENTS
        eventually(server, "dsvd_responses_open", 0)
        assert server.logged() == ""
