"""Assembly of a file's bytes from its tensors: computed in runs by several threads, kept in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..codec.arithmetic import one_blas_thread
from ..codec.weights import Memory
from ..fs import Bytes
from ..threads import in_order, threads
from .file_plan import FilePlan, Run, RunsOfTensor

Place = Callable[[int, memoryview], None]
"""Receives bytes and their position in a file, in any thread and any order."""

BYTES_AT_ONCE = 48 << 20  # of runs in work, so that memory does not grow with the checkpoint
LEAST_BYTES = 4 << 20  # of a buffer, however small its run is
MOST_BYTES = 16 << 20  # of a buffer that is kept for later runs


def file_bytes(plan: FilePlan, place: Place) -> Generator[Bytes, None, None]:
    """Yield the bytes of a file, in order.

    A chunk is valid until the next one is requested, because its memory is reused. `place` receives
    each chunk first, with its position, perhaps in another thread. Close the generator if you stop
    early.

    Raises `ResultMismatch` before a tensor is computed whose size is not that in the file's header.
    """
    place(0, memoryview(plan.prefix))
    yield plan.prefix
    with assembled(map(plan.tensor, plan.names), len(plan.prefix), place) as runs:
        yield from runs


def whole_file(plan: FilePlan) -> bytes:
    """All bytes of a file that is small."""
    return b"".join(map(bytes, file_bytes(plan, nowhere)))


def nowhere(_position: int, _data: memoryview) -> None:
    """Ignore the bytes, for callers that only read the chunks."""


@contextlib.contextmanager
def assembled(
    tensors: Iterable[RunsOfTensor], first: int, place: Place
) -> Iterator[Iterator[memoryview]]:
    """The bytes of all tensors in order, a run at a time.

    A run is valid until the next one is requested, because its memory is reused. `place` receives
    each run first, with its position; the first run is at position `first`. On leaving, also by an
    exception, no work goes on.
    """
    with (
        one_blas_thread,
        threads() as pool,
        contextlib.closing(_assembled(pool, tensors, first, place)) as made,
    ):
        yield made


@dataclass(frozen=True)
class _Job:
    tensor: RunsOfTensor
    prepared: Future[None]
    run: Run
    position: int  # of its first byte in the file
    is_last: bool


def _assembled(
    pool: ThreadPoolExecutor, tensors: Iterable[RunsOfTensor], first: int, place: Place
) -> Generator[memoryview, None, None]:
    buffers: list[Memory] = []

    def make(job: _Job) -> tuple[_Job, Memory]:
        job.prepared.result()
        memory = _memory(buffers, job.run.nbytes)
        if job.run.nbytes:
            job.tensor.fill(job.run, memory[: job.run.nbytes])
            place(job.position, memory.data[: job.run.nbytes])
        return job, memory

    for job, memory in in_order(pool, make, _jobs(pool, tensors, first), _room, BYTES_AT_ONCE):
        with memory.data[: job.run.nbytes] as view:
            yield view
        if len(memory) <= MOST_BYTES:
            buffers.append(memory)
        if job.is_last:
            job.tensor.release()


def _jobs(
    pool: ThreadPoolExecutor, tensors: Iterable[RunsOfTensor], position: int
) -> Iterator[_Job]:
    """A job for every run of every tensor; the first run goes to `position`.

    Preparation starts one tensor ahead, so that no thread waits for long. The pool starts work in
    order, so no job waits for a preparation that has not started.
    """
    ahead: deque[tuple[RunsOfTensor, Future[None]]] = deque()
    for tensor in tensors:
        ahead.append((tensor, pool.submit(tensor.prepare)))
        if len(ahead) > 1:
            position = yield from _jobs_of(*ahead.popleft(), position)
    if ahead:
        yield from _jobs_of(*ahead.popleft(), position)


def _jobs_of(
    tensor: RunsOfTensor, prepared: Future[None], position: int
) -> Generator[_Job, None, int]:
    """Yield the jobs of one tensor, and return the position after its last run."""
    runs = deque(tensor.runs()) or deque([Run(0, 0, 0)])  # or its failure would go unseen
    while runs:
        run = runs.popleft()
        yield _Job(tensor, prepared, run, position, not runs)
        position += run.nbytes
    return position


def _room(job: _Job) -> int:
    return max(job.run.nbytes, LEAST_BYTES)


def _memory(buffers: list[Memory], nbytes: int) -> Memory:
    """At least `nbytes` of memory; a used buffer if possible, whose pages need no faults."""
    with contextlib.suppress(IndexError):
        memory = buffers.pop()
        if len(memory) >= nbytes:
            return memory
    return np.empty(max(nbytes, LEAST_BYTES), np.uint8)
