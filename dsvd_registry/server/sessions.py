"""Sessions: who has signed in with a token, as a browser remembers it by a cookie.

A cookie holds a random name of the session and nothing of the token. Sessions are kept in memory: they
end with the server, after some hours, or when their owner signs out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

COOKIE = "dsvd_session"
LIFETIME = 12 * 3600  # seconds
MOST = 1000  # the oldest ends when there are more


class Sessions:
    """The sessions of one server. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._ends: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self) -> str:
        """Begin a session; returns its name, for the cookie."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._ends) >= MOST:
                del self._ends[next(iter(self._ends))]
            self._ends[name] = self._clock() + LIFETIME
        return name

    def end(self, name: str) -> None:
        """End a session."""
        with self._lock:
            self._ends.pop(name, None)

    def named_by(self, cookie_header: str) -> str | None:
        """The name of the live session that a `Cookie` header carries; None without one."""
        try:
            morsel = SimpleCookie(cookie_header).get(COOKIE)
        except CookieError:
            return None
        if morsel is None:
            return None
        with self._lock:
            end = self._ends.get(morsel.value)
        return morsel.value if end is not None and self._clock() < end else None

    def form_token(self, name: str) -> str:
        """The text that every form of a session carries, which no other site can know."""
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()

    def accept_form(self, name: str, token: str) -> bool:
        """Return whether `token` is that of the session, in a time that tells nothing about it."""
        return hmac.compare_digest(self.form_token(name).encode(), token.encode())


def cookie(name: str) -> str:
    """The `Set-Cookie` header of a session. No script reads it, and no other site sends it."""
    return f"{COOKIE}={name}; HttpOnly; SameSite=Strict; Path=/; Max-Age={LIFETIME}"


def no_cookie() -> str:
    """The `Set-Cookie` header that removes the cookie."""
    return f"{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"
