"""Temporary changes of torch's settings, which belong to the process or to a thread."""

from __future__ import annotations

import threading
from types import TracebackType

import torch

from .process_wide import ProcessWide, Restore


class OneThread(threading.local):
    """A context manager in which torch computes each operation of the calling thread with one thread.

    torch has this setting per thread. Each thread that enters gets its own value back on leaving.
    """

    def __init__(self) -> None:
        self._before: list[int] = []

    def __enter__(self) -> None:
        self._before.append(torch.get_num_threads())
        if self._before[-1] != 1:
            torch.set_num_threads(1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        threads = self._before.pop()
        if threads != 1:
            torch.set_num_threads(threads)


def _ieee_products() -> Restore:
    # torch's type stubs lack the first backend.
    backends = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    precisions = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"

    def restore() -> None:
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = "none"  # follow torch's global setting again
            if backend.fp32_precision != precision:  # it had a value of its own
                backend.fp32_precision = precision

    return restore


one_thread_each = OneThread()
"""Limits torch to one thread for each operation of a thread that enters."""

ieee_products = ProcessWide(_ieee_products)
"""Makes matrix products of fp32 use fp32 throughout, and neither TF32 nor bf16."""
