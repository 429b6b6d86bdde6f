"""The next subject of a pipeline, made in a thread while the pipeline runs.

The thread reads neither the pipeline's weights nor torch's settings, and changes neither: everything is
computed on the CPU by numpy. What it makes lies in memory until the switch copies it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from ..catalog import VersionRecord
from ..checkpoint import TensorInfo
from ..closing import Closing
from ..codec.exact_product_torch import CPU
from ..codec.tensor_order import in_order
from ..registry.repository import Repository
from .changes import Changes, find_changes
from .make_tensors import Maker
from .pipeline_base import PipelineBase


@dataclass(frozen=True)
class Wanted:
    """A version at a tau, for a pipeline with these tensors: the key of what is made ahead."""

    version: VersionRecord
    tau: float | None
    pipeline: Mapping[str, TensorInfo]


@dataclass(frozen=True)
class MadeAhead:
    """The changes of a pipeline by a version, and the new values of each tensor, on the CPU."""

    changes: Changes
    values: dict[str, torch.Tensor]


class Prefetch(Closing):
    """The making of one subject in a thread. `close` drops it, and waits until the thread has ended."""

    def __init__(self, wanted: Wanted, repository: Repository) -> None:
        self.wanted = wanted
        self._repository = repository
        self._dropped = threading.Event()
        self._thread = ThreadPoolExecutor(1, "dsvd-prefetch")
        self._made: Future[MadeAhead] = self._thread.submit(self._make)

    def result(self) -> MadeAhead:
        """The weights that were made; waits for them. Raises what kept it from being made."""
        return self._made.result()

    def close(self) -> None:
        self._dropped.set()
        self._thread.shutdown()

    def _make(self) -> MadeAhead:
        version, repository = self.wanted.version, self._repository
        weights = repository.open_base(repository.base_of(version))
        with (
            PipelineBase(weights, self.wanted.pipeline) as base,
            repository.open_container(version) as container,
        ):
            changes = find_changes(version.ref, container.header, base)
            maker = Maker(container, base.weights, self.wanted.tau)

            def make(name: str) -> tuple[str, torch.Tensor]:
                if self._dropped.is_set():
                    raise CancelledError
                info = self.wanted.pipeline[name]
                return name, maker.values(changes.changed[name], info, CPU)

            elements = self.wanted.pipeline.__getitem__
            with in_order(make, changes.changed, lambda name: elements(name).elements) as made:
                return MadeAhead(changes, dict(made))
