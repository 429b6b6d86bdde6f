"""The settings of a server, checked before it listens; who may ask it is decided here."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidArgument
from ..fs import storage_errors

SHORTEST_TOKEN = 16
LARGEST_TOKEN_FILE = 1 << 20
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]+")  # what RFC 6750 allows in a header


@dataclass(frozen=True)
class Tokens:
    """The tokens of which a request must carry one; only their SHA-256 is kept in memory."""

    digests: tuple[bytes, ...]

    @classmethod
    def from_file(cls, path: Path) -> Tokens:
        """Read a file with one token per line; `#` starts a comment line.

        Raises `InvalidArgument` if other users may read it, or a token is short or none is there.
        """
        with storage_errors(path), path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(LARGEST_TOKEN_FILE)
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidArgument(
                f"{path} can be read or changed by other users", f"Run: chmod 600 {path}"
            )
        lines = [line.strip() for line in data.splitlines()]
        tokens = [line for line in lines if line and not line.startswith(b"#")]
        if not tokens:
            raise InvalidArgument(f"{path} holds no token", "Write one token per line.")
        for number, token in enumerate(tokens, 1):
            if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
                raise InvalidArgument(
                    f"token {number} of {path} is not {SHORTEST_TOKEN} or more letters, digits and "
                    "the signs ._~+/=-",
                    "Make one with: openssl rand -hex 32",
                )
        return cls(tuple(hashlib.sha256(token).digest() for token in tokens))

    def accept(self, token: bytes) -> bool:
        """Return whether `token` is one of them, in a time that tells nothing about them."""
        digest = hashlib.sha256(token).digest()
        found = False
        for known in self.digests:
            found |= hmac.compare_digest(known, digest)
        return found


@dataclass(frozen=True)
class Settings:
    """Settings of a server: where it listens, whom it answers, and how much work it does at once.

    `tokens`: None if anybody who reaches the address may ask. `at_once`: the number of requests that
    make bytes at the same time. `wait`: the seconds that others wait for their turn to begin. `write`:
    whether those who sign in may change what people know of a version.
    """

    host: str = "127.0.0.1"
    port: int = 8411
    tokens: Tokens | None = None
    at_once: int = 4
    wait: float = 10.0
    write: bool = False

    @property
    def is_loopback(self) -> bool:
        """True if only programs of this machine can reach the address."""
        return is_loopback(self.host)

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """The host names by which a request may address the server; None for any.

        On loopback without a token, a page of any site could make its own name mean 127.0.0.1, and
        read the registry through the visitor's browser. Its requests would carry that name.
        """
        if self.tokens is not None or not self.is_loopback:
            return None
        return frozenset({"localhost", "127.0.0.1", "[::1]", self.host.lower()})


def check_settings(settings: Settings, *, open_to_all: bool) -> None:
    """Raise `InvalidArgument` for a server that anybody could ask without that being wanted."""
    if settings.tokens is None and not settings.is_loopback and not open_to_all:
        raise InvalidArgument(
            f"other machines can reach {settings.host}, and there is no token",
            "Give --token-file, or --open to let anybody read the registry.",
        )
    if settings.write and settings.tokens is None:
        raise InvalidArgument(
            "anybody could change the registry: --write is given, and there is no token",
            "Give --token-file too.",
        )


def is_loopback(host: str) -> bool:
    """Return whether an address or name means this machine alone; only `localhost` among names."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
