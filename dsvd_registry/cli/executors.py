"""The executor that the options of `dsvd add` choose."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager

from ..errors import InvalidArgument


def executor_of(workers: int | None, ray: str | None) -> AbstractContextManager[Executor | None]:
    """The executor of `--workers` or `--ray`, to be left by a `with` block; None without the two.

    Raises `InvalidArgument` for both at once, and as the executors.
    """
    if workers is not None and ray is not None:
        raise InvalidArgument("both --workers and --ray are given", "Give one of them.")
    if workers is not None:
        from ..registry import WorkerProcesses

        return WorkerProcesses(workers)
    if ray is not None:
        return _on_ray(ray)
    return contextlib.nullcontext()


@contextlib.contextmanager
def _on_ray(address: str) -> Iterator[Executor]:
    from ..registry import RayExecutor

    # Ray tells of lost nodes on the standard output, which is for what the command gives.
    with contextlib.redirect_stdout(sys.stderr), RayExecutor(address) as executor:
        yield executor
