"""Protection against threads that flush subnormal numbers to zero, which would change results.

`torch.set_flush_denormal` and libraries built for speed set this mode; each thread has its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator

import numpy as np

from ..errors import InvalidArgument

_ENVIRONMENT_BYTES = 256  # more than the `fenv_t` of any system
_PROBE = np.full(2, 2.0**-127, np.float32)
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
            raise _refused()
        yield
    finally:
        library.fesetenv(before)


def flushes() -> bool:
    """Whether the calling thread flushes subnormal numbers to zero."""
    return not (_PROBE * _ONE).all()


@functools.cache
def _environment() -> tuple[ctypes.CDLL, object]:
    """The C library, for its functions of the floating-point environment, and its `FE_DFL_ENV`."""
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
        "this thread flushes subnormal numbers to zero, which would change the results",
        "Call this before torch.set_flush_denormal(True), or after setting it to False.",
    )
