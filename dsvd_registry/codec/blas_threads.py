"""One thread for each call of numpy's and SciPy's BLAS, while several tensors are worked on at once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy.linalg import cython_blas
from threadpoolctl import ThreadpoolController

from .torch_settings import ProcessWide

LOADED = (np, cython_blas)  # the controller finds the libraries that are loaded


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _one_thread() -> Callable[[], None]:
    restore: Callable[[], None]
    restore = _controller().limit(limits=1, user_api="blas").restore_original_limits
    return restore


one_blas_thread = ProcessWide(_one_thread)
"""The number is the process's: it is given back when the last thread leaves."""
