"""A bucket alone: its URL, the words for what a service refuses, and a wire that is cut."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from seaweed import Seaweed
from wire import FAULTS, Fault, Wire, wire

from dsvd_registry.errors import Conflict, InvalidArgument, NotFound, StorageError
from dsvd_registry.store import bucket_url as urls
from dsvd_registry.store.bucket_backend import BucketBackend
from dsvd_registry.store.bucket_url import BucketUrl, Patience, parse

from .backend_suite import DATA, FIRST, keys, object_key, put

SHORT = Patience(connect=2, read=5, request=20, retries=1, pause=0.01)
LARGE = DATA * 120  # in two parts
PERIOD = 7  # of the requests that fail

Opened = Callable[..., BucketBackend]


@pytest.fixture
def opened(bucket_url: str, tmp_path: Path) -> Opened:
    return lambda url=bucket_url, patience=SHORT: BucketBackend(parse(url), tmp_path, patience)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://studio", BucketUrl("s3", "studio", "")),
        ("s3://studio/", BucketUrl("s3", "studio", "")),
        ("S3://studio/a/b.c/", BucketUrl("s3", "studio", "a/b.c")),
        ("gs://some.bucket_1/dogs", BucketUrl("gs", "some.bucket_1", "dogs")),
        ("az://container/x-y/Z", BucketUrl("az", "container", "x-y/Z")),
    ],
)
def test_urls(text: str, url: BucketUrl) -> None:
    assert parse(text) == url
    assert parse(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "s3://", "s3:///a", "s3://Studio", "s3://st", "s3://studio/a//b", "s3://studio/../b",
        "s3://studio/.hidden", "s3://studio/a b", "s3://studio/a%2f", "http://studio/a", "studio/a",
        "s3://key:secret@studio/a", "s3://studio/a?secret=1", "az://studio/a\n", "s3://studio/ä",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_registry(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert "secret" not in str(caught.value) + caught.value.hint


def test_a_path_is_no_url() -> None:
    assert not any(map(urls.is_url, ["a/b", "C:\\a", "C:/a", "/s3:/a", "s3:/a", "a://b"[1:]]))
    assert urls.is_url("s3://a") and urls.is_url("nfs://a")


def test_the_profile_of_the_command_line(tmp_path: Path) -> None:
    """Its files are read where the variables give no credential; a file that is broken gives nothing."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = B%c\n[night]\n"
        "aws_access_key_id=N\naws_secret_access_key=M\naws_session_token=T\n"
    )
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion=eu-west-1\n[profile night]\nregion=x\n"
    )
    home = {"HOME": str(tmp_path)}
    day = {"access_key_id": "A", "secret_access_key": "B%c"}
    assert urls.profile(home) == day | {"region": "eu-west-1"}
    assert urls.profile(home | {"AWS_REGION": "y"}) == day
    night = {"access_key_id": "N", "secret_access_key": "M", "session_token": "T", "region": "x"}
    assert urls.profile(home | {"AWS_PROFILE": "night"}) == night
    assert urls.profile(home | {"AWS_ACCESS_KEY_ID": "Z"}) == {}
    assert urls.profile(home | {"AWS_PROFILE": "none"}) == {}
    (tmp_path / ".aws/credentials").write_text("no section\n")
    assert urls.profile(home) == {"region": "eu-west-1"}


def test_the_profile_opens_a_bucket(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id=writer\naws_secret_access_key=writer-secret\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    opened().create(FIRST, DATA)
    assert opened().read(FIRST) == DATA


def test_a_prefix_is_a_place_of_its_own(opened: Opened, bucket_url: str) -> None:
    """Two registries in one bucket, one's prefix beginning as the other's, see nothing of each other."""
    one, other = opened(), opened(f"{bucket_url}0")
    one.create(FIRST, b"one")
    other.create(FIRST, b"other")
    assert (one.read(FIRST), other.read(FIRST)) == (b"one", b"other")
    assert one.delete(FIRST) and keys(other, "events/") == [FIRST]


def test_large_content_goes_in_parts(opened: Opened) -> None:
    key = put(opened(), LARGE)
    assert opened().read(key, 9 << 20, (9 << 20) + 10) == LARGE[9 << 20 :][:10]
    assert opened().read(key) == LARGE


def test_the_renewals_are_no_keys(opened: Opened) -> None:
    backend = opened()
    first, second = sorted(put(backend, bytes([n])) for n in range(2))
    assert backend.renew(first) and backend.renew(first) and backend.renew(second)
    assert list(backend.list("objects/")) == [
        backend.head(first), backend.head(second),
    ]  # fmt: skip
    assert keys(backend, "objects/", first) == [second]
    assert backend.delete(first) and backend.delete(second)
    assert keys(backend, "objects/") == []
    put(backend, b"\0"), put(backend, b"\1")
    assert keys(backend, "objects/") == [first, second]


REFUSED = [
    ("reader", "write", "may not write in", "s3:PutObject"),
    ("reader", "delete", "may not delete in", "s3:DeleteObject"),
    ("nolist", "list", "may not list in", "s3:ListBucket"),
    ("nobody", "read", "is not accepted (403 InvalidAccessKeyId)", "Check the variables"),
]


@pytest.mark.parametrize(("user", "deed", "said", "hint"), REFUSED)
def test_who_may_not(
    opened: Opened,
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    deed: str,
    said: str,
    hint: str,
) -> None:
    """One sentence each, without the secret; and what is there stays as it was."""
    opened().create(FIRST, DATA)
    for name, value in seaweed.environment(user).items():
        monkeypatch.setenv(name, value)
    refused = opened()
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: put(refused, DATA),
        "delete": lambda: refused.delete(FIRST),
        "list": lambda: list(refused.list("events/")),
        "read": lambda: refused.read(FIRST),
    }
    with pytest.raises(StorageError) as caught:
        calls[deed]()
    assert said in str(caught.value) and hint in caught.value.hint
    assert f"{user}-secret" not in str(caught.value) + caught.value.hint
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    assert opened().read(FIRST) == DATA and keys(opened(), "objects/") == []


def test_a_bucket_that_is_missing(opened: Opened) -> None:
    with pytest.raises(NotFound, match="the bucket of s3://nowhere/a does not exist"):
        opened("s3://nowhere/a").read(FIRST)
    with pytest.raises(NotFound, match="bucket"):
        list(opened("s3://nowhere/a").list("events/"))


def test_nobody_answers(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        opened().read(FIRST)
    assert "AWS_ENDPOINT_URL" in caught.value.hint


ANSWERS = [
    (301, "PermanentRedirect", "", "is in another region than the one that is asked"),
    (
        400,
        "AuthorizationHeaderMalformed",
        "<Message>The authorization header is malformed; the region 'us-east-1' is wrong; expecting "
        "'eu-west-1'</Message><Region>eu-west-1</Region>",
        "is in another region than the one that is asked: it is in eu-west-1",
    ),
    (400, "ExpiredToken", "<Message>The provided token has expired.</Message>", "has expired"),
    (403, "RequestTimeTooSkewed", "", "the clock of this machine"),
    (503, "SlowDown", "", r"refused to read \(503 SlowDown\)"),
    (451, "Odd", "", r"refused to read \(451 Odd\)"),
]


@pytest.mark.parametrize(("status", "code", "more", "said"), ANSWERS)
def test_what_amazon_answers(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, status: int, code: str, more: str, said: str
) -> None:
    """Its words for what SeaweedFS never refuses, as its manual has them, said by a server."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code>{more}</Error>"

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(StorageError, match=said):
            opened().read(FIRST)
        server.shutdown()


@pytest.fixture
def cut(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, bucket_url: str) -> Iterator[Wire]:
    with wire(seaweed.port) as one:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{one.port}")
        yield one


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_each_call(opened: Opened, cut: Wire, bucket_url: str, fault: Fault) -> None:
    """Each call is sent again. The answer is as without a fault, but for a key that is there."""
    for first in range(PERIOD):
        cut.requests.clear()
        cut.fault = lambda number, _, first=first: fault if number % PERIOD == first else None
        _all_calls(opened(f"{bucket_url}/{first}"), fault)
    assert len(cut.done) > 15


def _all_calls(backend: BucketBackend, fault: Fault) -> None:
    try:
        backend.create(FIRST, DATA)
    except Conflict:
        assert fault in ("no answer", "half an answer")
    assert backend.read(FIRST) == DATA and backend.read(FIRST, 5, 50) == DATA[5:50]
    assert backend.read(FIRST, 90_000, 90_001) == b""
    with pytest.raises(Conflict):
        backend.create(FIRST, b"other")
    key = put(backend, LARGE)
    assert backend.read(key) == LARGE
    found = backend.head(key)
    assert found is not None and found.size == len(LARGE)
    assert backend.renew(key) and keys(backend, "objects/") == [key]
    assert not backend.delete(key, found)
    backend.delete(key)
    assert backend.head(key) is None and keys(backend, "objects/") == []


@pytest.mark.parametrize("fault", FAULTS[:4])
def test_a_wire_that_stays_cut(opened: Opened, cut: Wire, seaweed: Seaweed, fault: Fault) -> None:
    """Large content at each of its requests: an error, and its key has all bytes or does not exist."""
    backend, left = opened(patience=Patience(retries=0, pause=0.01)), 0
    for first in range(5):  # a look, the beginning, two parts, the end
        cut.requests.clear()
        cut.fault = lambda number, _, first=first: fault if number >= first else None
        data = bytes([first]) + LARGE
        try:
            key = put(backend, data)
        except StorageError as error:
            assert "cannot be reached" in str(error)
            key = object_key(data)
            left += 1
        cut.fault = lambda *_: None
        found = backend.head(key)
        assert found is None or backend.read(key) == data
    assert left >= 4
