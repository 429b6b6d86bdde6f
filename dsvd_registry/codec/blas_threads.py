"""One thread for each call of numpy's and SciPy's BLAS, while several tensors are worked on at once.

Who calls SciPy's has imported it, which takes a while, and is not needed to give back a checkpoint.
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
    """Of the libraries that are loaded: with SciPy there may be one more."""
    return threadpoolctl.ThreadpoolController()


def _one_thread() -> Callable[[], None]:
    limit = _controller("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")
    _let_go()

    def restore() -> None:
        limit.restore_original_limits()
        _let_go()

    return restore


def _let_go() -> None:
    """Let any thread set the number: the last one that leaves need not be the first that entered."""
    with contextlib.suppress(AttributeError):  # older versions let any thread do so anyway
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)


one_blas_thread = ProcessWide(_one_thread)
"""The number is the process's: it is given back when the last thread leaves."""
