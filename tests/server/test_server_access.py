"""Who may ask a server: tokens, addresses, names; and what its answers carry."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsvd_registry.cli import main
from dsvd_registry.errors import InvalidArgument
from dsvd_registry.server.settings import Tokens, is_loopback

from .conftest import Shelf
from .running import RunningServer, environment, serving

TOKENS = ("first-token-0123456789", "second/token+ABCDEF=")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("# of the studio\n" + "\n".join(TOKENS) + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(shelf: Shelf, tmp_path: Path, token_file: Path) -> Iterator[RunningServer]:
    with serving(shelf.registry, tmp_path / "run", "--token-file", str(token_file)) as server:
        yield server


def test_only_a_valid_token_opens(guarded: RunningServer, shelf: Shelf) -> None:
    for token in TOKENS:
        for scheme in ("Bearer", "bearer"):
            found = guarded.get("/v1/materialize/single", Authorization=f"{scheme} {token}")
            assert (found.status, found.body) == (200, shelf.tuned_file.read_bytes())
    refused = [
        {},
        *({"Authorization": f"Bearer {bad}"} for bad in ("", TOKENS[0][:-1], TOKENS[0] + "x", "ä")),
        {"Authorization": TOKENS[0]},
        {"Authorization": f"Basic {TOKENS[0]}"},
        {"X_Token": TOKENS[0]},
    ]
    for headers in refused:
        for path in (
            "/api/v1/models",
            "/dsvd/exact/resolve/main/model_index.json",
            "/metrics",
            "/x",
        ):
            found = guarded.get(path, **headers)
            assert found.status == 401
            assert found.headers["www-authenticate"] == "Bearer"
            assert b"exact" not in found.body
    assert guarded.get("/healthz").status == 200
    assert guarded.get(f"/api/v1/models?token={TOKENS[0]}").status == 401


def test_a_token_is_never_logged(guarded: RunningServer) -> None:
    guarded.get("/api/v1/models", Authorization=f"Bearer {TOKENS[0]}")
    guarded.get("/api/v1/models", Authorization=f"Bearer {TOKENS[0]}x")
    guarded.raw(f"GET / HTTP/9.9\r\nAuthorization: Bearer {TOKENS[0]}\r\n\r\n".encode())
    assert TOKENS[0] not in guarded.logged()


def test_the_hub_client_sends_its_token(
    guarded: RunningServer, shelf: Shelf, tmp_path: Path
) -> None:
    code = (
        "import sys; from huggingface_hub import hf_hub_download as get;"
        "print(get('dsvd/exact', 'model_index.json'))"
    )
    env = environment(HF_ENDPOINT=guarded.url, HF_HOME=str(tmp_path / "home"), HF_TOKEN=TOKENS[1])
    done = subprocess.run(
        (sys.executable, "-c", code), env=env, capture_output=True, text=True, check=True
    )
    got = Path(done.stdout.splitlines()[-1]).read_bytes()
    assert got == (shelf.tuned / "model_index.json").read_bytes()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (TOKENS[0], 0o644, "other users"),
        (TOKENS[0], 0o620, "other users"),
        ("", 0o600, "no token"),
        ("# nothing\n\n", 0o600, "no token"),
        ("short", 0o600, "token 1"),
        (f"{TOKENS[0]}\nwith a space in it", 0o600, "token 2"),
    ],
)
def test_a_file_of_tokens_that_is_refused(
    tmp_path: Path, content: str, mode: int, said: str
) -> None:
    path = tmp_path / "tokens"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(InvalidArgument, match=said) as error:
        Tokens.from_file(path)
    assert error.value.hint
    assert "short" not in str(error.value)


def test_tokens_are_kept_as_digests(token_file: Path) -> None:
    tokens = Tokens.from_file(token_file)
    assert tokens.digests == tuple(hashlib.sha256(t.encode()).digest() for t in TOKENS)
    assert [tokens.accept(t.encode()) for t in (*TOKENS, "other")] == [True, True, False]


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_other_machines_need_a_token(
    host: str, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--registry", str(shelf.registry), "serve", "--host", host, "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "there is no token" in said
    assert "--token-file" in said


def test_other_machines_with_a_token_or_open(
    shelf: Shelf, tmp_path: Path, token_file: Path
) -> None:
    options = ("--host", "0.0.0.0")
    with serving(
        shelf.registry, tmp_path / "a", *options, "--token-file", str(token_file)
    ) as server:
        assert server.get("/api/v1/models").status == 401
    with serving(shelf.registry, tmp_path / "b", *options, "--open") as server:
        assert server.get("/api/v1/models", Host="any.example").status == 200


def test_a_foreign_name_on_loopback_is_refused(server: RunningServer) -> None:
    """A page of another site that makes its name mean 127.0.0.1 sends that name."""
    port = server.address[1]
    for name in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost@evil",
    ):
        found = server.get("/api/v1/models", Host=name)
        assert found.status == 421
        assert b"exact" not in found.body
    for name in ("localhost", f"LOCALHOST:{port}", f"127.0.0.1:{port}", "[::1]"):
        assert server.get("/api/v1/models", Host=name).status == 200


@pytest.mark.parametrize("path", ["/api/v1/models", "/v1/materialize/single", "/none", "/healthz"])
def test_every_answer_is_kept_from_pages_of_other_sites(server: RunningServer, path: str) -> None:
    headers = server.get(path, Origin="https://evil.example").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert not any(name.startswith("access-control") for name in headers)


def test_a_taken_port(
    server: RunningServer, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(server.address[1])
    assert main(["--registry", str(shelf.registry), "serve", "--port", port]) == 4
    assert f"127.0.0.1:{port} is taken" in capsys.readouterr().err


def test_an_address_of_another_machine(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--registry", str(shelf.registry), "serve", "--host", "192.0.2.7", "--open"]
    assert main(words) == 2
    assert "192.0.2.7 is no address of this machine" in capsys.readouterr().err


def test_without_the_extra(tmp_path: Path) -> None:
    """The packages are kept from being found, as where they are not installed."""
    for package in ("starlette", "uvicorn", "prometheus_client"):
        code = (
            f"import sys; sys.modules[{package!r}] = None;"
            "from dsvd_registry.cli import main; sys.exit(main(['serve']))"
        )
        done = subprocess.run(
            (sys.executable, "-c", code), env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr == (
            f"error: the server needs the package {package}, which is not installed\n"
            "hint: Install it with: pip install 'dsvd-registry[serve]'\n"
        )
