"""Anonymous memory of this process, sampled: pages of mapped files are not counted."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

STATUS = Path("/proc/self/status")  # Linux
PERIOD = 0.005  # seconds


def anonymous_bytes() -> int:
    """The anonymous memory (RssAnon) of this process, in bytes."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise OSError("this system does not report a process's anonymous memory")


def touch_memory(output: Path, size: int) -> None:
    """Use as much memory as a file of `size` bytes at `output` needs, and free it."""
    block = bytes(1 << 22)
    with output.open("xb", buffering=0) as file:
        while size > 0:
            size -= file.write(block[:size])
    output.unlink()


class PeakMemory:
    """The peak of anonymous memory in a `with` block, sampled by a thread.

    `over`: in bytes, above the memory at the time when the object was made.
    """

    over = 0

    def __init__(self) -> None:
        self._start = anonymous_bytes()

    def __enter__(self) -> Self:
        self._peak = self._start
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self.over = max(self._peak, anonymous_bytes()) - self._start

    def _sample(self) -> None:
        while not self._done.is_set():
            self._peak = max(self._peak, anonymous_bytes())
            time.sleep(PERIOD)
