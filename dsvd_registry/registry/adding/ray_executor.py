"""An executor on a Ray cluster: each task runs on one core of any of its nodes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from concurrent.futures import BrokenExecutor, Executor, Future
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ...errors import InvalidArgument, StorageError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class RayExecutor(Executor):
    """An executor on the Ray cluster at `address`, such as "10.0.0.5:6379", "auto" or "ray://...".

    A task whose worker or node dies ends with `BrokenExecutor`. On leaving a `with` block by an
    exception, tasks at work are interrupted, and not waited for. Raises `InvalidArgument` if Ray is
    not installed, `StorageError` if the cluster cannot be reached.
    """

    def __init__(self, address: str) -> None:
        self._ray = _imported()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _connect(self._ray, address)
        self._running: dict[Future[Any], Any] = {}
        self._known: dict[Callable[..., Any], Any] = {}

    def submit(
        self,
        fn: Callable[_Arguments, _Result],
        /,
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> Future[_Result]:
        try:
            reference = self._remote(fn).remote(*args, **kwargs)
        except self._ray.exceptions.RayError as error:  # the cluster is lost
            raise _broken(error) from error
        result: Future[_Result] = Future()
        self._running[result] = reference
        result.add_done_callback(
            lambda one: self._ray.cancel(reference) if one.cancelled() else None
        )
        reference.future().add_done_callback(lambda done: self._end(done, result))
        return result

    def _remote(self, fn: Callable[..., Any]) -> Any:
        """The function as Ray knows it, made once: a new one would be sent to each worker anew."""
        if fn not in self._known:
            # Who waits for a task decides whether it is tried again.
            self._known[fn] = self._ray.remote(max_retries=0, num_cpus=1)(fn)
        return self._known[fn]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            for future in list(self._running):
                future.cancel()
        if wait:  # not for Ray's objects, whose end is to be handed on first
            futures.wait(list(self._running))
        if self._is_ours:
            self._ray.shutdown()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown(wait=error is None, cancel_futures=error is not None)

    def _end(self, done: Future[Any], result: Future[Any]) -> None:
        """Hand on what became of a task, with the error of a lost worker as `BrokenExecutor`."""
        if result.set_running_or_notify_cancel():
            error = done.exception()
            if error is None:
                result.set_result(done.result())
            elif isinstance(error, self._ray.exceptions.RayTaskError):
                result.set_exception(error.cause)
            else:  # of Ray itself: a worker, a node or an object was lost
                result.set_exception(_broken(error))
        self._running.pop(result, None)  # last: who shuts down waits for what is still in here


def _broken(error: BaseException) -> BrokenExecutor:
    """The error of a lost worker or cluster, with the first line of what Ray says."""
    return BrokenExecutor((str(error) or type(error).__name__).splitlines()[0])


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InvalidArgument(
            "Ray is not installed", "Install it with `pip install dsvd-registry[ray]`."
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address, log_to_driver=False, configure_logging=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(
            f"the Ray cluster at {address} cannot be reached: {reason}",
            "`ray status` on one of its machines tells its address; auto is the one of this machine.",
        ) from error
