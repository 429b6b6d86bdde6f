"""numpy multiplies on one thread inside, and the caller's number comes back."""

from __future__ import annotations

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dsvd_registry.codec.arithmetic import ieee_arithmetic, one_blas_thread


def numbers() -> set[int]:
    return {
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    }


@pytest.mark.parametrize("callers", [1, 2, 3])
def test_the_callers_number_comes_back(callers: int) -> None:
    with threadpool_limits(callers, user_api="blas"):
        before = numbers()
        with one_blas_thread:
            assert numbers() == {1}
            with ieee_arithmetic():
                assert numbers() == {1}
            assert numbers() == {1}
        assert numbers() == before
        with pytest.raises(KeyError), ieee_arithmetic():
            raise KeyError
        assert numbers() == before


def test_it_stays_until_the_last_thread_leaves() -> None:
    inside, leave = threading.Event(), threading.Event()

    def at_work() -> None:
        with one_blas_thread:
            inside.set()
            leave.wait()

    with threadpool_limits(2, user_api="blas"):
        before = numbers()
        other = threading.Thread(target=at_work)
        with one_blas_thread:
            other.start()
            inside.wait()
        assert numbers() == {1}
        leave.set()
        other.join()
        assert numbers() == before
