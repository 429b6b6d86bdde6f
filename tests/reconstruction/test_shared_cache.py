"""A cache for several threads: one makes a value, all get it, and its bytes are bounded."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from registry.conftest import write_safetensors

from dsvd_registry import Registry
from dsvd_registry.codec.weights import Memory
from dsvd_registry.reconstruction import range_reader
from dsvd_registry.reconstruction.file_plan import Run
from dsvd_registry.reconstruction.range_reader import RunCache
from dsvd_registry.reconstruction.reconstruction import ResultTensor
from dsvd_registry.reconstruction.shared_cache import SharedCache
from dsvd_registry.registry.results import result_pool


class Value(bytearray):
    """Bytes that can be referred to weakly."""


def test_one_makes_it_and_all_get_it() -> None:
    cache: SharedCache[str, Value] = SharedCache(100, len)
    started, makers = threading.Barrier(8), []

    def make() -> Value:
        makers.append(threading.get_ident())
        assert not threading.Event().wait(0.05)  # long enough for all to ask meanwhile
        return Value(10)

    def ask() -> Value:
        started.wait()
        return cache.value("a", make)

    with ThreadPoolExecutor(8) as pool:
        found = [asked.result() for asked in [pool.submit(ask) for _ in range(8)]]
    assert len(makers) == 1
    assert all(one is found[0] for one in found)


def test_what_fails_is_tried_again() -> None:
    cache: SharedCache[str, Value] = SharedCache(100, len)

    def fail() -> Value:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        cache.value("a", fail)
    assert cache.value("a", lambda: Value(b"here")) == b"here"
    assert cache.unfinished == 0


def test_the_least_recently_used_go_first() -> None:
    cache: SharedCache[str, Value] = SharedCache(100, len)
    alive: dict[str, weakref.ref[Value]] = {}

    def put(name: str, size: int) -> None:
        alive[name] = weakref.ref(cache.value(name, lambda: Value(size)))

    def there() -> str:
        return "".join(name for name, value in alive.items() if value() is not None)

    for name in "abcd":
        put(name, 25)
    put("a", 25)  # used again
    put("e", 30)
    assert there() == "ade"
    put("x", 1000)  # larger than the cache: it alone is there, until the next
    assert there() == "x"
    put("y", 1)
    assert there() == "y"


def test_forgetting_waits_for_what_is_being_made() -> None:
    cache: SharedCache[str, Value] = SharedCache(100, len)
    may_end, ended = threading.Event(), threading.Event()

    def make() -> Value:
        may_end.wait()
        ended.set()
        return Value(1)

    with ThreadPoolExecutor(1) as pool:
        first = cache.future("a", pool.submit, make)
        second = cache.future("b", pool.submit, make)  # never begins: one thread
        other = cache.future("of others", lambda work: work(), lambda: Value(3))
        threading.Timer(0.05, may_end.set).start()
        cache.forget(lambda key: key in "ab")
        assert ended.is_set() and first.done()
        with pytest.raises(CancelledError):
            second.result()
    assert other.result() == bytes(3)
    assert cache.unfinished == 0


def test_no_thread_waits_for_what_a_value_is_made_from() -> None:
    """With one thread: a value whose source is not there yet leaves it to another."""
    cache: SharedCache[str, Value] = SharedCache(100, len)
    source: Future[int] = Future()
    with ThreadPoolExecutor(1) as pool:
        first = cache.future_from("a", lambda: source, pool.submit, Value)
        assert cache.future("b", pool.submit, lambda: Value(b"other")).result() == b"other"
        assert not first.done() and cache.unfinished == 1
        source.set_result(3)
        assert first.result() == bytes(3)
    assert cache.unfinished == 0


def test_a_source_keeps_no_value_alive() -> None:
    cache: SharedCache[str, Value] = SharedCache(10, len)
    source: Future[int] = Future()
    made = cache.future_from("a", lambda: source, lambda work: work(), Value)
    source.set_result(3)
    value = weakref.ref(made.result())
    del made
    cache.forget(lambda _: True)
    gc.collect()
    assert value() is None


def test_a_value_is_cancelled_if_its_work_cannot_be_started() -> None:
    """As when a registry closes while a tensor is prepared, for whose bytes a reader waits."""
    cache: SharedCache[str, Value] = SharedCache(100, len)
    source: Future[int] = Future()

    def refuse(_work: object) -> None:
        raise ValueError("closed")

    waits = cache.future_from("a", lambda: source, refuse, Value)
    source.set_result(3)
    with pytest.raises(CancelledError):
        waits.result(timeout=0)
    assert cache.unfinished == 0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a version of 18 MB, a third of it one tensor."""
    at = tmp_path_factory.mktemp("large")
    make = torch.Generator().manual_seed(1)
    base, tuned = {}, {}
    for number in range(12):
        rows = 1500 if number == 5 else 256
        base[str(number)] = torch.randn(rows, 1024, generator=make)
        delta = torch.randn(rows, 4, generator=make) @ torch.randn(4, 1024, generator=make)
        tuned[str(number)] = base[str(number)] + 1e-3 * delta
    with Registry.init(at / "registry") as registry:
        registry.add_base("base", write_safetensors(base, at / "base.safetensors"))
        registry.add(write_safetensors(tuned, at / "t.safetensors"), base="base", name="s", tau=0.9)
        registry.materialize("s", at / "whole")
    return at


@pytest.mark.parametrize("limit", [1, 3 << 20, 12 << 20])
def test_memory_is_bounded(large: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocations of runs are counted by Python itself, and not by the cache."""
    monkeypatch.setattr(result_pool, "run_cache", lambda: RunCache(limit))
    whole = (large / "whole").read_bytes()
    tracemalloc.start()
    try:
        with Registry.open(large / "registry") as registry, registry.open_result("s") as result:
            for at in range(0, len(whole), 1 << 20):
                assert result.read_at(at, 1 << 20) == whole[at : at + (1 << 20)]
            taken = tracemalloc.take_snapshot().filter_traces(
                [tracemalloc.Filter(True, range_reader.__file__)]
            )
    finally:
        tracemalloc.stop()
    runs = sum(trace.size for trace in taken.traces if trace.size > 100_000)
    largest_run = 4 << 20
    assert runs <= max(limit // 2, largest_run) + largest_run  # one that is being made ahead
    if limit >= 12 << 20:
        assert runs > largest_run  # and it is used


def test_small_reads_start_no_large_work(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header needs no run, a few bytes of a tensor need one, and nothing is made ahead."""
    made: list[str] = []
    fill = ResultTensor.fill

    def counted(tensor: ResultTensor, run: Run, memory: Memory) -> None:
        made.append(tensor.record.name)
        fill(tensor, run, memory)

    monkeypatch.setattr(ResultTensor, "fill", counted)
    monkeypatch.setattr(result_pool, "run_cache", lambda: RunCache(64 << 20))
    whole = (large / "whole").read_bytes()
    with Registry.open(large / "registry") as registry:
        with registry.open_result("s") as result:
            length = int.from_bytes(result.read_at(0, 8), "little")
            result.read_at(8, length)
        assert made == []
        with registry.open_result("s") as result:
            assert result.read_at(10 << 20, 4096) == whole[10 << 20 :][:4096]
            registry.close()  # waits for what was started
        assert len(made) == 1
