"""Reading of any part of a planned file: only the runs that it needs are computed, and are cached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np

from ..codec.arithmetic import one_blas_thread
from ..codec.weights import Memory
from .file_plan import FilePlan, PlannedRun, Run, RunsOfTensor
from .shared_cache import SharedCache

Start = Callable[[Callable[[], None]], object]
"""Starts work in another thread."""

FOLLOWING = 1 << 20  # bytes read one after another, from which on the next runs are made ahead
REORDERED = 1 << 20  # bytes by which reads of several threads may be out of order
SHARE_AHEAD = 16  # the part of the cache that one reader fills ahead of its reads
PREPARED_AHEAD = 4  # such parts, of whose tensors the base is checked and the factors are decoded
UNFINISHED = 64  # runs in work from which on nothing is made ahead


class RunCache:
    """Prepared tensors and finished runs of planned files, each at most half of `limit` bytes.

    The two have a half each, so that many runs of a large tensor do not push out its factors.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tensors: SharedCache[tuple[FilePlan, str], RunsOfTensor] = SharedCache(
            limit // 2, lambda tensor: tensor.prepared_bytes
        )
        self._runs: SharedCache[tuple[FilePlan, int], Memory] = SharedCache(
            limit // 2, lambda memory: memory.nbytes
        )

    def run(self, plan: FilePlan, planned: PlannedRun, start: Start) -> Future[Memory]:
        """The bytes of a run, which `start` computes in another thread if nobody does yet.

        No thread waits for the preparation of its tensor, during which others can be computed.
        """
        return self._runs.future_from(
            (plan, planned.position),
            lambda: self.tensor(plan, planned.tensor, start),
            start,
            lambda tensor: _filled(tensor, planned.run),
        )

    def tensor(self, plan: FilePlan, name: str, start: Start) -> Future[RunsOfTensor]:
        """A tensor of a file, which `start` prepares in another thread if nobody does yet."""
        return self._tensors.future((plan, name), start, lambda: _prepared(plan.tensor(name)))

    @property
    def unfinished(self) -> int:
        """The number of runs in work."""
        return self._runs.unfinished

    def forget(self, plan: FilePlan) -> None:
        """Drop all of a file; on return no work on it goes on, and none of it may be read again."""
        self._runs.forget(lambda key: key[0] is plan)
        self._tensors.forget(lambda key: key[0] is plan)


def _prepared(tensor: RunsOfTensor) -> RunsOfTensor:
    with one_blas_thread:
        tensor.prepare()
    return tensor


def _filled(tensor: RunsOfTensor, run: Run) -> Memory:
    memory = np.empty(run.nbytes, np.uint8)
    with one_blas_thread:
        tensor.fill(run, memory)
    return memory


class RangeReader:
    """A reader of one planned file. Several threads may read at once.

    If reads follow one another, the next runs are made ahead of them.
    """

    def __init__(self, plan: FilePlan, cache: RunCache, start: Start) -> None:
        self._plan, self._cache, self._start = plan, cache, start
        self._lock = threading.Lock()
        self._front = 0  # the end of the latest read
        self._read = 0  # bytes that were read up to there, one after another
        self._ahead = 0  # the end of the runs that were started

    def parts(self, begin: int, end: int) -> Iterator[memoryview]:
        """The bytes begin..end-1, both in the file, in parts that stay valid.

        Raises what preparing and filling a tensor raises.
        """
        prefix = self._plan.prefix
        if begin < len(prefix):
            yield memoryview(prefix)[begin:end]
        horizon = self._horizon(begin, end)
        for planned in self._plan.runs(begin, end):
            self._make_ahead(planned.position, horizon)
            made = self._cache.run(self._plan, planned, self._start).result()
            first = max(begin, planned.position)
            yield made.data[first - planned.position : end - planned.position]

    def _horizon(self, begin: int, end: int) -> int:
        """The position up to which runs are made ahead while begin..end-1 are read."""
        with self._lock:
            if self._front - REORDERED <= begin <= self._front + REORDERED:
                self._read += end - max(begin, len(self._plan.prefix))
                self._front = max(self._front, end)
            else:
                self._read, self._front, self._ahead = 0, end, begin
            return end + self._reach(self._share)

    @property
    def _share(self) -> int:
        return self._cache.limit // SHARE_AHEAD

    def _reach(self, most: int) -> int:
        """The bytes to read ahead: as many as were read in a row, up to `most`; none after a few."""
        return min(most, self._read) if self._read >= FOLLOWING else 0

    def _make_ahead(self, position: int, horizon: int) -> None:
        """Start the runs between `position` and `horizon` that lie within this reader's share."""
        end = min(horizon, position + self._share)
        with self._lock:
            begin = max(position, self._ahead)
            # Not for every few bytes: half of the share is enough to keep all threads at work.
            if end <= begin or (end < horizon and end - begin < self._share // 2):
                return
            if self._cache.unfinished > UNFINISHED:
                return
            self._ahead = end
        for planned in self._plan.runs(begin, end):
            self._cache.run(self._plan, planned, self._start)
        if self._read < self._share:  # whoever reads one tensor does not wait for others
            return
        for name in self._plan.tensors(end, end + PREPARED_AHEAD * self._share):
            self._cache.tensor(self._plan, name, self._start)
