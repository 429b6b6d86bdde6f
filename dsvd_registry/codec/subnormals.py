"""Subnormal numbers kept: a thread may be told to take them for zero, which changes results.

`torch.set_flush_denormal` and libraries built for speed do so; the processor keeps it for each thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator

import numpy as np

from ..errors import InvalidArgument

_ENVIRONMENT_BYTES = 256  # more than any system's `fenv_t`
_PROBE = np.full(2, 2.0**-127, np.float32)
_ONE = np.ones(2, np.float32)


@contextlib.contextmanager
def subnormals_kept() -> Iterator[None]:
    """Inside, the calling thread counts with subnormal numbers; its own setting comes back.

    Raises `InvalidArgument` where that cannot be set.
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
            raise _refused()
        yield
    finally:
        library.fesetenv(before)


def flushes() -> bool:
    """Whether the calling thread takes subnormal numbers for zero."""
    return not (_PROBE * _ONE).all()


@functools.cache
def _environment() -> tuple[ctypes.CDLL, object]:
    """C's own functions for the floating-point environment, and its `FE_DFL_ENV`."""
    try:
        library = ctypes.CDLL(None)
        library.fegetenv.argtypes = library.fesetenv.argtypes = [ctypes.c_void_p]
    except (AttributeError, OSError, TypeError) as error:
        raise _refused() from error
    try:  # macOS
        return library, ctypes.byref(ctypes.c_byte.in_dll(library, "_FE_DFL_ENV"))
    except ValueError:
        return library, ctypes.c_void_p(-1)


def _refused() -> InvalidArgument:
    return InvalidArgument(
        "this thread takes subnormal numbers for zero, and results would be wrong",
        "Call this before torch.set_flush_denormal(True), or after setting it to False.",
    )
