"""A limit of one thread for each BLAS call, for when several tensors are processed at once.

The limit covers the BLAS of numpy and, if SciPy has been imported, that of SciPy. SciPy is not
imported here: that takes long, and materialising a checkpoint does not need it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable

import threadpoolctl

from .process_wide import ProcessWide


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
