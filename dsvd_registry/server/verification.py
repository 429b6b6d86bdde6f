"""The look for damage that this server takes at the moment.

It runs in a thread of its own, beside the requests. It only reads, so that the end of the server may cut
it off.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import DsvdError
from ..registry.registry import Registry

_LOG = logging.getLogger("dsvd_registry.server")


@dataclass(frozen=True)
class Verification:
    """A look for damage. `done`, `total`: how far it is."""

    began: datetime
    done: int = 0
    total: int = 0


class Verifications:
    """The running verification, if there is one; never two at once. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Verification | None = None
        self._stopped: datetime | None = None

    @property
    def running(self) -> Verification | None:
        """The one that runs at the moment."""
        return self._running

    @property
    def stopped(self) -> datetime | None:
        """When the last one began, if it could not be finished, which the log explains."""
        return self._stopped

    def begin(self, registry: Registry) -> None:
        """Begin one, unless one runs already."""
        with self._lock:
            if self._running is not None:
                return
            self._running = Verification(datetime.now(UTC))
        threading.Thread(target=self._run, args=(registry,), daemon=True).start()

    def _run(self, registry: Registry) -> None:
        assert self._running is not None
        state = self._running

        def progress(_what: str, done: int, total: int) -> None:
            self._running = dataclasses.replace(state, done=done, total=total)

        try:
            registry.keep_verified(registry.verify(progress=progress))
            self._stopped = None
        except DsvdError as error:
            _LOG.error("verify: %s: %s", type(error).__name__, error)
            self._stopped = state.began
        finally:
            self._running = None
