"""Matrix products on the CPU, by the library that makes the best of the processor.

OpenBLAS picks its code by the processor's name, and old code for one that is newer than itself;
oneDNN, inside torch, asks what instructions there are. Both multiply and add one number after the
other, so that products of integers are exact with each.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from .torch_tensors import empty, scratch_tensor

LEAST_WORK = 1 << 21  # multiplications: a call of oneDNN costs more than smaller products do
GRAM_ROWS = 320  # of a block of a Gram matrix
# Columns whose products are summed in their own dtype. One library sums them in parts of a few
# hundred, the other from first to last, and rounds as often.
NUMPY_RUN, ONEDNN_RUN = 2048, 256
GRAM_FROM = 640  # rows of a matrix: of two blocks on, half of what is off the diagonal is saved


def product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """`a` (m, k) times `b` (k, n), both on the CPU, in their dtype; in `out` if that is given."""
    work = a.shape[0] * a.shape[1] * b.shape[1]
    if (
        out is None  # oneDNN takes fresh memory each time, whose page faults cost what it saves
        and a.dtype == torch.float32
        and work >= LEAST_WORK
        and b.is_contiguous()  # it takes other strides too, and is slower with them by orders
        and _onednn_is_exact()
    ):
        return _by_onednn(a, b)
    return _by_numpy(a, b, out)


def gram(wide: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`wide` (k, n) times its transpose, float64 (k, k): the upper triangle of it at least.

    Of products in `dtype`, of runs of columns, that are summed in float64.
    """
    rows, columns = wide.shape
    by_onednn = dtype == torch.float32 and rows >= GRAM_FROM and _onednn_is_exact()
    step = ONEDNN_RUN if by_onednn else NUMPY_RUN
    sums = empty((rows, rows), torch.float64).zero_()
    for first in range(0, columns, NUMPY_RUN):
        runs = [
            scratch_tensor(f"run {number}", tuple(run.shape), dtype).copy_(run)
            for number, run in enumerate(torch.split(wide[:, first : first + NUMPY_RUN], step, 1))
        ]
        if by_onednn:
            _add_upper_blocks(runs, sums)
        else:
            # numpy sees that both factors are one matrix, and works out half of the product.
            for run in runs:
                sums += torch.from_numpy(run.numpy() @ run.numpy().T)
    return sums


def _add_upper_blocks(runs: list[torch.Tensor], sums: torch.Tensor) -> None:
    """A block of the sums at a time: it stays in the cache until all runs are added."""
    blocks = [slice(first, first + GRAM_ROWS) for first in range(0, len(sums), GRAM_ROWS)]
    for number, rows in enumerate(blocks):
        for columns in blocks[number:]:
            block = sums[rows, columns]
            for run in runs:
                block += _by_onednn(run[rows], run[columns].T)


def _by_numpy(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    if out is None:
        out = torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype, device="cpu")
    with np.errstate(all="ignore"):  # some libraries leave flags behind without a reason
        np.matmul(a.numpy(), b.numpy(), out=out.numpy())
    return out


def _by_onednn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # torch's own products do not go there in float32.
    made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    return made


@functools.cache
def _onednn_is_exact() -> bool:
    """Whether it is there, and takes all bits of a float32: it can be told from outside not to."""
    is_there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (is_there and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    generator = torch.Generator(device="cpu").manual_seed(0)

    def integers(limit: int, rows: int, columns: int) -> torch.Tensor:
        shape = (rows, columns)
        made = torch.randint(-limit, limit + 1, shape, generator=generator, device="cpu")
        return made.to(torch.float32)

    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for a, b in (
            (integers(1 << 18, 256, 32), integers(1, 32, 256)),
            (integers(1, 256, 32), integers(1 << 18, 32, 256)),
        ):
            if not torch.equal(_by_onednn(a, b), _by_numpy(a, b, None)):
                return False
    return True
