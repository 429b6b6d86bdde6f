"""The caller's torch settings change no bit, and are not changed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
import torch

from dsvd_registry.codec import arithmetic
from dsvd_registry.codec.encode_tau import EncodeRequest, encode
from dsvd_registry.codec.exact_product_torch import ieee_arithmetic
from dsvd_registry.errors import InvalidArgument

from .deltas import noise
from .integers import bits, components_of, reconstruct

MATMUL = torch.backends.mkldnn.matmul
CPU = torch.device("cpu")


@contextmanager
def flushing() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def global_precision(precision: str) -> Iterator[None]:
    torch.backends.fp32_precision = precision
    try:
        yield
    finally:
        torch.backends.fp32_precision = "none"


@contextmanager
def product_precision(precision: str) -> Iterator[None]:
    MATMUL.fp32_precision = precision
    try:
        yield
    finally:
        MATMUL.fp32_precision = "none"


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def both(one: AbstractContextManager, two: AbstractContextManager) -> Iterator[None]:
    with one, two:
        yield


CALLERS: dict[str, Callable[[], AbstractContextManager]] = {
    "autocast_bf16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast_fp16": lambda: torch.autocast("cpu", torch.float16),
    "precision_high": lambda: matmul_precision("high"),
    "precision_medium": lambda: matmul_precision("medium"),
    "global_bf16": lambda: global_precision("bf16"),
    "global_tf32": lambda: global_precision("tf32"),
    "products_bf16": lambda: product_precision("bf16"),
    "inference_mode": torch.inference_mode,
    "flush_denormal": flushing,
    "default_float64": lambda: default_dtype(torch.float64),
    "default_float16": lambda: default_dtype(torch.float16),
    "flush_and_default_float64": lambda: both(flushing(), default_dtype(torch.float64)),
}


def state() -> list[object]:
    """All settings that could have been changed."""
    return [
        MATMUL.fp32_precision,
        torch.backends.mkldnn.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.fp32_precision,
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        flushes(),
    ]


def flushes() -> bool:
    return not bool(torch.tensor(2.0**-127, dtype=torch.float32) * 1.0)


def some_weights(device: str = "numpy") -> torch.Tensor:
    """Weights of an exact product of more bits than bf16 has, over a base half of which is subnormal."""
    numbers = np.random.default_rng(0)
    a, b = (numbers.integers(-900, 900, (16, size)) for size in (96, 80))
    a[:, :48] = 0
    base = torch.arange(1, 96 * 80 + 1, dtype=torch.int32).view(torch.float32).reshape(96, 80)
    components = components_of(a, b, [-126] * 16)
    return torch.cat(
        [
            reconstruct(base, components, torch.float32, path, device)
            for path in (torch.float32, torch.float64)
        ]
    )


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("name", CALLERS)
def test_the_bits_are_the_same_and_the_settings_come_back(name: str, device: str) -> None:
    wanted = bits(some_weights(device))
    assert ((wanted != 0) & (wanted < 0x800000)).sum() > 3000  # subnormal
    with CALLERS[name]():
        before = state()
        found = bits(some_weights(device))
        after = state()
    assert torch.equal(found, wanted)
    assert after == before


@pytest.mark.parametrize("name", CALLERS)
def test_settings_come_back_after_an_error(name: str) -> None:
    with CALLERS[name]():
        before = state()
        for inside in (ieee_arithmetic(CPU), arithmetic.ieee_arithmetic()):
            with pytest.raises(KeyError), inside:
                raise KeyError
            assert state() == before


@pytest.mark.parametrize("name", ["autocast_bf16", "autocast_fp16"])
def test_a_plain_product_is_wrong_under_autocast(name: str) -> None:
    """Proves that the test above can fail."""
    a, b = noise(64, 32), noise(32, 64, seed=1)
    with CALLERS[name]():
        assert float((a @ b - a.to(torch.float64) @ b.to(torch.float64)).abs().max()) > 1e-3


def test_a_plain_sum_is_wrong_where_the_caller_flushes() -> None:
    subnormal = torch.tensor([1e-40])
    with flushing():
        assert bits(subnormal + 0.0).item() == 0


def test_where_flushing_cannot_be_ended_nothing_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C's own functions are replaced by ones that set the current mode again."""
    library, _ = arithmetic._environment()
    flushed = ctypes.create_string_buffer(256)
    with flushing():
        library.fegetenv(flushed)
        monkeypatch.setattr(arithmetic, "_environment", lambda: (library, flushed))
        with pytest.raises(InvalidArgument, match="subnormal"):
            some_weights()
        assert flushes()


def test_precision_follows_the_global_setting_afterwards() -> None:
    with global_precision("bf16"):
        some_weights("cpu")
        torch.backends.fp32_precision = "ieee"
        assert MATMUL.fp32_precision == "ieee"


@pytest.mark.parametrize("name", CALLERS)
def test_a_record_is_the_same_whatever_the_caller_has_set(name: str) -> None:
    base = noise(20, 30)
    source = base + 1e-3 * noise(20, 30, seed=1)

    def reals() -> list[float]:
        found = encode(
            base, source, EncodeRequest(0.5, 0.015), lambda c: type(c).__name__ != "LowRank"
        )
        return [found.norm, found.base_norm, found.error, found.nuclear_norm]

    wanted = reals()
    with CALLERS[name]():
        assert reals() == pytest.approx(wanted, rel=1e-9)
