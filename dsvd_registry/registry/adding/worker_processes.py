"""An executor of processes, one task at a time in each, of which one may die without the others.

`ProcessPoolExecutor` is broken as a whole when one of its processes dies, and does not say which task
killed it. This module imports nothing but the standard library: a worker sets the number of its
threads before the libraries are loaded that read it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

from ...errors import InvalidArgument
from ...threads import CORES_VARIABLE, cores

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# What the libraries under torch and numpy read when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", CORES_VARIABLE)
_SECONDS_TO_END = 10.0


class WorkerProcesses(Executor):
    """An executor of `count` processes on this machine, which share its cores.

    A task whose process dies ends with `BrokenExecutor`, and the next one gets a new process. On
    leaving a `with` block by an exception, tasks at work are interrupted, and not waited for. The
    processes are made as by `multiprocessing` with "spawn": a script that uses this needs the usual
    `if __name__ == "__main__":`.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise InvalidArgument(f"{count} workers are not enough", "Give 1 or more.")
        self._threads = ThreadPoolExecutor(count, "dsvd-worker")
        self._cores_of_each = max(1, cores() // count)
        self._of_thread = threading.local()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()

    def submit(
        self,
        fn: Callable[_Arguments, _Result],
        /,
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> Future[_Result]:
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            for worker in self._all():
                worker.end()

    def interrupt(self) -> None:
        """Drop the tasks that have not begun, and interrupt those at work, which tidy up first."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        workers = self._all()
        for worker in workers:  # all at once: a worker may take its time to tidy up
            worker.interrupt()
        deadline = time.monotonic() + _SECONDS_TO_END
        for worker in workers:
            worker.end_by(deadline)
        self.shutdown()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.shutdown()
        else:
            self.interrupt()

    def _run(self, work: Callable[..., _Result], args: Any, kwargs: Any) -> _Result:
        worker: _Worker | None = getattr(self._of_thread, "worker", None)
        if worker is None or not worker.process.is_alive():
            worker = self._of_thread.worker = _Worker(self._cores_of_each)
            with self._lock:
                self._workers.add(worker)
        try:
            return worker.run(work, args, kwargs)  # type: ignore[no-any-return]
        except BrokenExecutor:
            self._of_thread.worker = None
            with self._lock:
                self._workers.discard(worker)
            raise

    def _all(self) -> list[_Worker]:
        with self._lock:
            return list(self._workers)


class _Worker:
    """One process, and this end of the connection to it."""

    def __init__(self, cores_of_it: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, cores_of_it), name="dsvd-worker", daemon=True
        )
        # Until the new process can be interrupted it is not told: half started it would not tidy up.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that this end sees when the process has died

    def run(self, work: Callable[..., object], args: Any, kwargs: Any) -> Any:
        """Run a task in the process. Raises what it raises, and `BrokenExecutor` if it dies."""
        try:
            self._connection.send((work, args, kwargs))
            failed, result = self._connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(_SECONDS_TO_END)
            raise BrokenExecutor(_how_it_ended(self.process.exitcode)) from error
        if failed:
            raise result
        return result

    def interrupt(self) -> None:
        """Interrupt the task at work, as Ctrl-C does."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGINT)

    def end_by(self, deadline: float) -> None:
        """Wait for the process until then, by `time.monotonic`, and kill it after that."""
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()

    def end(self) -> None:
        """Let the process end after its task, and wait for it."""
        self._connection.close()
        self.end_by(time.monotonic() + _SECONDS_TO_END)
        self.process.join()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with the exit code {code}"


def _work(connection: Connection, cores_of_it: int) -> None:
    """Do the tasks that come by a connection until it is closed, or an interrupt."""
    for name in _THREADS:
        os.environ[name] = str(cores_of_it)
    signal.signal(signal.SIGINT, _interrupt_once)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        while True:
            work, args, kwargs = connection.recv()
            try:
                answer = False, work(*args, **kwargs)
            except Exception as error:
                answer = True, error
            _send(connection, answer)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _send(connection: Connection, answer: tuple[bool, object]) -> None:
    """Send an answer; one that cannot be sent fails its task, and not the worker."""
    try:
        connection.send(answer)
    except OSError:
        raise
    except Exception as error:
        failure = RuntimeError(f"its answer cannot be sent: {type(error).__name__}: {error}")
        connection.send((True, failure))


def _interrupt_once(number: int, _frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, and no second one while the task tidies up."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
