"""A file's bytes from its tensors: made in runs by several threads, handed on in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..checkpoint.layout import SafetensorsLayout
from ..codec.blas_threads import one_blas_thread
from ..codec.scratch import Memory
from ..errors import ResultMismatch
from ..fs import Bytes
from ..threads import in_order, threads
from .result_layout import Place

BYTES_AT_ONCE = 48 << 20  # of runs under way, so that memory does not grow with a checkpoint
LEAST_BYTES = 4 << 20  # of memory for a run, however small it is
MOST_BYTES = 16 << 20  # of memory that is kept for later runs


@dataclass(frozen=True)
class Run:
    """A run of a tensor's bytes: `nbytes` of them, whole elements, as rows first..end-1.

    `is_stored`: it is stored as it is, as bytes first..end-1 of those.
    """

    first: int
    end: int
    nbytes: int
    is_stored: bool = False


class RunsOfTensor(Protocol):
    """A tensor whose bytes are made in runs."""

    def prepare(self) -> None:
        """What is done once, before any run is made."""

    def runs(self) -> Iterator[Run]:
        """All of them, in order; known before it is prepared."""

    def fill(self, run: Run, memory: Memory) -> None:
        """Write a run's bytes over `memory`, in any thread."""

    def release(self) -> None:
        """No run is needed any more."""


def file_bytes(
    layout: SafetensorsLayout, tensor: Callable[[str], RunsOfTensor], place: Place
) -> Generator[Bytes, None, None]:
    """A file of `layout`, from first byte to last; `tensor` gives the tensor of a name in its order.

    Close it if you stop early. A chunk is in memory that a later one takes: it can be read until the
    next is asked for. `place` has had it before, perhaps in another thread.

    Raises `ResultMismatch` before it makes a tensor of another size than the header says.
    """
    place(0, memoryview(layout.prefix))
    yield layout.prefix
    with assembled(_as_planned(layout, tensor), len(layout.prefix), place) as made:
        yield from made


def _as_planned(
    layout: SafetensorsLayout, tensor: Callable[[str], RunsOfTensor]
) -> Iterator[RunsOfTensor]:
    for name, size in zip(layout.order, layout.sizes, strict=True):
        made = tensor(name)
        own = sum(run.nbytes for run in made.runs())
        if own != size:
            raise ResultMismatch(
                f"the tensor {name!r} comes out with {own} bytes, where the header of its file says "
                f"{size}"
            )
        yield made


def nowhere(_position: int, _data: memoryview) -> None:
    """Bytes that are only looked at."""


@contextlib.contextmanager
def assembled(
    tensors: Iterable[RunsOfTensor], first: int, place: Place
) -> Iterator[Iterator[memoryview]]:
    """The bytes of all tensors in order, a run at a time; `place` has had them before, from `first` on.

    A view's memory is taken for a later run: it can be read until the next one is asked for. On
    leaving no work is under way any more, however it ends.
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
    """Every run of every tensor, the first of which goes to `position`.

    A tensor begins to be prepared one tensor ahead, so that no thread waits for long; as the pool
    begins work in order, none waits for work that is not begun.
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
    """Gives the position behind the last one."""
    runs = deque(tensor.runs()) or deque([Run(0, 0, 0)])  # or nobody sees that it failed
    while runs:
        run = runs.popleft()
        yield _Job(tensor, prepared, run, position, not runs)
        position += run.nbytes
    return position


def _room(job: _Job) -> int:
    return max(job.run.nbytes, LEAST_BYTES)


def _memory(buffers: list[Memory], nbytes: int) -> Memory:
    """At least `nbytes`, of which the pages have been used before, if there is any such memory."""
    with contextlib.suppress(IndexError):
        memory = buffers.pop()
        if len(memory) >= nbytes:
            return memory
    return np.empty(max(nbytes, LEAST_BYTES), np.uint8)
