"""Threads with settings of their own in one process: each gets the same bits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsvd_registry import Registry
from dsvd_registry.codec.exact_product_torch import one_thread_each


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """One version over a base of subnormal numbers."""
    generator = torch.Generator().manual_seed(0)
    base = {"w": torch.randn(1500, 1500, generator=generator) * 1e-39}
    change = torch.zeros(1500, 1)
    change[:9] = torch.randn(9, 1, generator=generator)
    tuned = {"w": base["w"] + change @ torch.randn(1, 1500, generator=generator) * 1e-30}
    save_file(base, tmp_path / "base.safetensors")
    save_file(tuned, tmp_path / "tuned.safetensors")
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", tmp_path / "base.safetensors")
    registry.add(tmp_path / "tuned.safetensors", base="base", name="subject", tau=0.9)
    return registry


def bits(registry: Registry) -> torch.Tensor:
    with registry.tensors("subject") as tensors:
        return tensors["w"].view(torch.int32)


def test_a_thread_that_flushes_while_another_is_at_work(registry: Registry) -> None:
    """Seen to fail while one thread's entry into `one_thread_each` stood for all threads."""
    expected = bits(registry)
    inside, done = threading.Event(), threading.Event()
    found: list[torch.Tensor] = []

    def at_work() -> None:
        with one_thread_each:
            inside.set()
            done.wait()

    def flushing() -> None:
        torch.set_flush_denormal(True)
        torch.set_num_threads(2)
        torch.ones(4_000_000).mul_(2)  # starts this thread's helpers, which flush from now on
        other = threading.Thread(target=at_work)
        other.start()
        inside.wait()
        found.append(bits(registry))
        done.set()
        other.join()

    caller = threading.Thread(target=flushing)
    caller.start()
    caller.join()
    with registry:
        assert torch.equal(found[0], expected)


def test_each_thread_gets_its_number_of_threads_back() -> None:
    before = torch.get_num_threads()
    inside, leave = threading.Event(), threading.Event()

    def at_work() -> None:
        with one_thread_each:
            inside.set()
            leave.wait()

    other = threading.Thread(target=at_work)
    with one_thread_each:
        other.start()
        inside.wait()
        assert torch.get_num_threads() == 1
    leave.set()
    other.join()
    assert torch.get_num_threads() == before


def test_another_default_device(registry: Registry) -> None:
    expected = bits(registry)
    with registry, torch.device("meta"):
        assert torch.equal(bits(registry), expected)
