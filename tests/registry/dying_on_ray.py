"""Work on a node of Ray that dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ray

from dsvd_registry.registry import RayExecutor


def hold_then(work: Callable[..., Any], node: str, held: Path, task: Any) -> Any:
    """Do the work, but on one node of Ray hold it until the node dies; a file in `held` says so."""
    if ray.get_runtime_context().get_node_id() == node:
        (held / task.file.path.stem).touch()
        time.sleep(3600)
    return work(task)


class HeldOnNode(RayExecutor):
    """The real cluster, whose work is that of `hold_then`."""

    def __init__(self, address: str, node: str, held: Path) -> None:
        super().__init__(address)
        self._how = node, held

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(hold_then, fn, *self._how, *args, **kwargs)
