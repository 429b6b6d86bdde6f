"""The exact product of exact_product.py, computed by torch: on any device, from torch's tensors."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch

from . import arithmetic
from .arithmetic import ProcessWide, Restore
from .components import Components, Elements, balanced, fit_fp32
from .exact_product import known_factors, row_tiles
from .products import product
from .torch_tensors import round_to


class OneThread(threading.local):
    """A context manager in which torch computes each operation of the calling thread with one thread.

    torch has this setting per thread. Each thread that enters gets its own value back on leaving.
    """

    def __init__(self) -> None:
        self._before: list[int] = []

    def __enter__(self) -> None:
        self._before.append(torch.get_num_threads())
        if self._before[-1] != 1:
            torch.set_num_threads(1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        threads = self._before.pop()
        if threads != 1:
            torch.set_num_threads(threads)


def _ieee_products() -> Restore:
    # torch's type stubs lack the first backend.
    backends = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    precisions = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"

    def restore() -> None:
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = "none"  # follow torch's global setting again
            if backend.fp32_precision != precision:  # it had a value of its own
                backend.fp32_precision = precision

    return restore


one_thread_each = OneThread()
"""Limits torch to one thread for each operation of a thread that enters."""

ieee_products = ProcessWide(_ieee_products)
"""Makes matrix products of fp32 use fp32 throughout, and neither TF32 nor bf16."""


CPU = torch.device("cpu")


class DeltaProduct:
    """The exact (m, n) sum of 2^e a b^T over r components, computed a run of rows at a time.

    `path`: the floating-point type of the product. By default it is float32 where the magnitude
    bound allows it and a test product on `device` was exact, and float64 elsewhere. Several threads
    may use one object.
    """

    def __init__(
        self,
        components: Components,
        device: torch.device | str = CPU,
        path: torch.dtype | None = None,
    ) -> None:
        device = torch.device(device)
        self.path = path or fastest_exact_path(components, device)
        self.columns = components.b.shape[1]
        with ieee_arithmetic(device):
            sides = balanced(components, np.float32 if self.path == torch.float32 else np.float64)
            self._a, self._b = (torch.from_numpy(side).to(device) for side in sides)

    @property
    def rows(self) -> int:
        return self._a.shape[1]

    def tile(self, first: int, end: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """Rows first..end-1 of the delta, (end - first, n), of dtype `path`; every zero is +0.0.

        They are written to `out` if it is given.
        """
        sums = _multiply(self._a[:, first:end].T, self._b, out)
        # A library may give -0.0 where all terms of a sum are -0.0; a delta has no negative zero.
        return sums.add_(0.0)


def apply_delta(
    base: torch.Tensor, delta: DeltaProduct, dtype: torch.dtype, out: torch.Tensor
) -> None:
    """Write round(base + delta) to `out`. Both are (m, n), `out` is of `dtype`.

    They must not share memory.
    """
    with ieee_arithmetic(base.device):
        for first, end in row_tiles(delta.rows, delta.columns):
            out[first:end] = add_tile(base[first:end], delta.tile(first, end), dtype)


def add_tile(base: torch.Tensor, tile: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """round(base + tile) of rows of the base and the same rows of the delta.

    Where the delta fits fp32, one fp32 addition rounds exactly as fp64 followed by fp32 would.
    """
    return round_to(base.to(tile.dtype) + tile, dtype)


def apply_dense(
    base: torch.Tensor, values: npt.NDArray[np.int32], exponent: int, dtype: torch.dtype
) -> torch.Tensor:
    """round(base + values * 2^exponent), in the shape of `base`. `values`: flat int32."""
    path = torch.float32 if Elements(values, exponent).fit_fp32() else torch.float64
    with ieee_arithmetic(base.device):
        total = torch.from_numpy(values).to(base.device, path).mul_(2.0**exponent)
        return round_to(total.reshape(base.shape).add_(base), dtype)


def fastest_exact_path(components: Components, device: torch.device) -> torch.dtype:
    """float32 where the product is proved exact in it, else float64. Both give the same bits."""
    is_proved = fit_fp32(components) and multiplies_exactly(device)
    return torch.float32 if is_proved else torch.float64


def _multiply(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """The product of two matrices, written to `out` if it is given."""
    return product(a, b, out) if a.device.type == "cpu" else torch.mm(a, b, out=out)


@functools.cache
def multiplies_exactly(device: torch.device) -> bool:
    """True if fp32 products are exact on `device`, tested once with known integers."""
    a, b = map(torch.from_numpy, known_factors())
    with ieee_arithmetic(device):
        result = _multiply(a.to(device, torch.float32), b.to(device, torch.float32))
    return torch.equal(result.cpu().to(torch.int64), a @ b)


@contextlib.contextmanager
def ieee_arithmetic(device: torch.device) -> Iterator[None]:
    """A block without autocast, with IEEE matrix products, in which subnormal numbers are kept.

    The caller's settings are restored on leaving.
    """
    with contextlib.ExitStack() as on_cpu:
        if device.type == "cpu":
            # torch's own threads may flush subnormal numbers, whatever is set here.
            on_cpu.enter_context(one_thread_each)
            on_cpu.enter_context(arithmetic.ieee_arithmetic())
        with ieee_products, torch.autocast(device.type, enabled=False), torch.no_grad():
            yield
