"""Matrix products on the CPU, by whichever of OpenBLAS and oneDNN is faster.

OpenBLAS picks its code by the name of the processor, and picks slow code for processors newer than
itself. oneDNN, which is part of torch, tests which instructions the processor has. Both use IEEE
multiplications and additions, so products of integers are exact with either.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from .torch_tensors import empty, scratch_tensor

LEAST_WORK = 1 << 21  # multiplications; for fewer, calling oneDNN costs more than it saves
# Of a Gram matrix that one product gives: what is left of the diagonal needs no work.
GRAM_ROWS = 160
GRAM_RUN = 2048  # columns whose products are summed in their own dtype


def product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """`a` (m, k) times `b` (k, n), both on the CPU, in their dtype; written to `out` if given."""
    work = a.shape[0] * a.shape[1] * b.shape[1]
    if (
        out is None  # oneDNN allocates its result, and page faults cost what it saves
        and a.dtype == torch.float32
        and work >= LEAST_WORK
        and b.is_contiguous()  # oneDNN is far slower with other strides
        and _onednn_is_exact()
    ):
        return _by_onednn(a, b)
    return _by_numpy(a, b, out)


def gram(wide: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The Gram matrix of `wide` (k, n), float64 (k, k); only its upper triangle is defined.

    Runs of columns are multiplied in `dtype`, and their products summed in float64.
    """
    rows, columns = wide.shape
    sums = empty((rows, rows), torch.float64).zero_()
    for start in range(0, columns, GRAM_RUN):
        run = wide[:, start : start + GRAM_RUN]
        if run.dtype != dtype:
            run = scratch_tensor("run", tuple(run.shape), dtype).copy_(run)
        for first in range(0, rows, GRAM_ROWS):
            left, right = run[first : first + GRAM_ROWS], run[first:].T
            block = scratch_tensor("block", (left.shape[0], right.shape[1]), dtype)
            # torch sums long products in parts, as OpenBLAS does: oneDNN would round more.
            sums[first : first + GRAM_ROWS, first:] += torch.mm(left, right, out=block)
    return sums


def _by_numpy(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    if out is None:
        out = torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype, device="cpu")
    with np.errstate(all="ignore"):  # some libraries set floating-point flags without a reason
        np.matmul(a.numpy(), b.numpy(), out=out.numpy())
    return out


def _by_onednn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # torch.mm does not use oneDNN for float32.
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    return result


@functools.cache
def _onednn_is_exact() -> bool:
    """True if oneDNN is available and uses all bits of a float32, which the environment can change."""
    is_available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (is_available and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    generator = torch.Generator(device="cpu").manual_seed(0)

    def integers(limit: int, rows: int, columns: int) -> torch.Tensor:
        shape = (rows, columns)
        numbers = torch.randint(-limit, limit + 1, shape, generator=generator, device="cpu")
        return numbers.to(torch.float32)

    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for a, b in (
            (integers(1 << 18, 256, 32), integers(1, 32, 256)),
            (integers(1, 256, 32), integers(1 << 18, 32, 256)),
        ):
            if not torch.equal(_by_onednn(a, b), _by_numpy(a, b, None)):
                return False
    return True
