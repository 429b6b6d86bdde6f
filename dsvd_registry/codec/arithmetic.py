"""Arithmetic with the same bits everywhere: a thread for each BLAS call, subnormal numbers kept.

The limit of one thread covers the BLAS of numpy and, if SciPy has been imported, that of SciPy. SciPy
is not imported here: that takes long, and materialising a checkpoint does not need it. Subnormal
numbers are flushed to zero in threads where `torch.set_flush_denormal`, or a library built for speed,
has set that mode; each thread has its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
import threadpoolctl

from ..errors import InvalidArgument

Restore = Callable[[], None]


class ProcessWide:
    """A context manager that changes a setting of the process and restores it.

    `apply` makes the change and returns a function that undoes it. Several threads may be inside at
    once: the first to enter makes the change, the last to leave undoes it.
    """

    def __init__(self, apply: Callable[[], Restore]) -> None:
        self._apply = apply
        self._lock = threading.Lock()
        self._inside = 0
        self._restore: Restore = _no_change

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._restore = self._apply()
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore()


def _no_change() -> None:
    pass


@functools.cache
def _controller(_with_scipy: bool) -> threadpoolctl.ThreadpoolController:
    """A controller of the BLAS libraries that are loaded; SciPy may bring another one."""
    return threadpoolctl.ThreadpoolController()


def _one_thread() -> Callable[[], None]:
    limit = _controller("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")
    _forget_controlling_thread()

    def restore() -> None:
        limit.restore_original_limits()
        _forget_controlling_thread()

    return restore


def _forget_controlling_thread() -> None:
    """Allow any thread to set the limit: the last to leave may not be the first that entered."""
    with contextlib.suppress(AttributeError):  # older versions have no such restriction
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)


one_blas_thread = ProcessWide(_one_thread)
"""Limits BLAS to one thread for the whole process until the last thread leaves the block."""


_ENVIRONMENT_BYTES = 256  # more than the `fenv_t` of any system
_PROBE = np.full(2, 1 << 22, np.uint32).view(np.float32)  # 2^-127, not rounded in a flushing thread
_ONE = np.ones(2, np.float32)


@contextlib.contextmanager
def subnormals_kept() -> Iterator[None]:
    """A block in which the calling thread keeps subnormal numbers; its setting is restored on leaving.

    Raises `InvalidArgument` if the mode cannot be changed.
    """
    if not flushes():
        yield
        return
    library, default = _environment()
    before = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
    library.fegetenv(before)
    library.fesetenv(default)
    try:
        if flushes():
            raise _flushing()
        yield
    finally:
        library.fesetenv(before)


def flushes() -> bool:
    """True if the calling thread flushes subnormal numbers to zero."""
    return not (_PROBE * _ONE).all()


@functools.cache
def _environment() -> tuple[ctypes.CDLL, object]:
    """The C library, for its functions of the floating-point environment, and its `FE_DFL_ENV`."""
    try:
        library = ctypes.CDLL(None)
        library.fegetenv.argtypes = library.fesetenv.argtypes = [ctypes.c_void_p]
    except (AttributeError, OSError, TypeError) as error:
        raise _flushing() from error
    try:  # macOS
        return library, ctypes.byref(ctypes.c_byte.in_dll(library, "_FE_DFL_ENV"))
    except ValueError:
        return library, ctypes.c_void_p(-1)


def _flushing() -> InvalidArgument:
    return InvalidArgument(
        "this thread flushes subnormal numbers to zero, which would change the results",
        "Call this before torch.set_flush_denormal(True), or after setting it to False.",
    )


@contextlib.contextmanager
def ieee_arithmetic() -> Iterator[None]:
    """A block in which subnormal numbers are kept and each product uses one thread.

    The caller's settings are restored on leaving. One thread, because a BLAS's own threads may
    flush subnormal numbers to zero, and that cannot be changed from here.
    """
    # Overflow shows in the result; some libraries set floating-point flags without a reason.
    with one_blas_thread, subnormals_kept(), np.errstate(all="ignore"):
        yield
