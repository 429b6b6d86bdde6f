"""What torch keeps for the process or for a thread, set for a while and given back as it was."""

from __future__ import annotations

import threading
from types import TracebackType

import torch

from .process_wide import ProcessWide, Restore


class OneThread(threading.local):
    """A context manager inside which torch takes one thread for each step of the calling thread.

    torch keeps this number per thread, so each thread that enters has its own, and gets it back.
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
    # torch's own types do not know of the first.
    backends = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    precisions = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"

    def restore() -> None:
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = "none"  # follow torch's global setting again,
            if backend.fp32_precision != precision:  # unless that is not where it came from
                backend.fp32_precision = precision

    return restore


one_thread_each = OneThread()
"""One thread for each step of torch in the threads that enter."""

ieee_products = ProcessWide(_ieee_products)
"""Matrix products of fp32 in fp32: neither TF32 nor bf16 inside."""
