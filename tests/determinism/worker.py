"""In a process of its own: digests of what a container gives, under one setting after another.

    python worker.py CONTAINER BASE [--threads N] [--flush-first] [--every-caller]

Prints JSON: `exact`, two SHA-256 for each caller's setting, of the file as a whole and of its
tensors read one by one in the caller's own thread; `float`, that of a plain fp32 product of
the same factors, as other tools merge them; `kinds` and `paths`, what the container holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.codec import exact_product_torch
from dsvd_registry.codec.components import Components, Elements
from dsvd_registry.codec.exact_product import DeltaProduct, add_elements
from dsvd_registry.codec.torch_tensors import TORCH_DTYPES, as_tensor, tensor_to_bytes
from dsvd_registry.codec.weights import Weights
from dsvd_registry.container.delta_decoder import decoded_delta
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import LowRankRecord
from dsvd_registry.reconstruction import reconstruction
from dsvd_registry.reconstruction.base_weights import BaseWeights, Manifest
from dsvd_registry.reconstruction.reconstruction import Reconstruction


@contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@contextmanager
def lowered_precision() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


@contextmanager
def flushing() -> Iterator[None]:
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


class InFp64(DeltaProduct):
    """Never the fp32 path."""

    def __init__(self, components: Components) -> None:
        super().__init__(components, np.float64)


@contextmanager
def path_fp64() -> Iterator[None]:
    """Never the fp32 path."""
    reconstruction.DeltaProduct = InFp64
    yield
    reconstruction.DeltaProduct = DeltaProduct


class OnGpu:
    """Products and sums on the GPU, where the package has them done by numpy."""

    def __init__(self, components: Components) -> None:
        self._components = components

    def run(self, first: int, end: int) -> OnGpu:
        whole = self._components
        return OnGpu(Components(whole.a[:, first:end], whole.b, whole.exponents))

    def add_to(self, base: Weights, out: Weights) -> None:
        made = torch.empty(out.words.shape, dtype=TORCH_DTYPES[out.dtype], device="cuda")
        delta = exact_product_torch.DeltaProduct(self._components, "cuda")
        exact_product_torch.apply_delta(on_gpu(base), delta, made.dtype, made)
        put(made, out)


def add_elements_on_gpu(base: Weights, elements: Elements, out: Weights) -> None:
    dtype = TORCH_DTYPES[out.dtype]
    put(
        exact_product_torch.apply_dense(on_gpu(base), elements.values, elements.exponent, dtype),
        out,
    )


def on_gpu(weights: Weights) -> torch.Tensor:
    memory = weights.words.reshape(-1).view(np.uint8)
    return as_tensor(memory, weights.words.shape, TORCH_DTYPES[weights.dtype]).cuda()


def put(made: torch.Tensor, out: Weights) -> None:
    out.words.reshape(-1).view(np.uint8)[:] = np.frombuffer(tensor_to_bytes(made.cpu()), np.uint8)


@contextmanager
def cuda() -> Iterator[None]:
    """Products and sums on the GPU."""
    reconstruction.DeltaProduct = OnGpu
    reconstruction.add_elements = add_elements_on_gpu
    yield
    reconstruction.DeltaProduct = DeltaProduct
    reconstruction.add_elements = add_elements


CALLERS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "plain": nullcontext,
    "autocast": autocast,
    "lowered_precision": lowered_precision,
    "flushing": flushing,
    "path_fp64": path_fp64,
    **({"cuda": cuda} if torch.cuda.is_available() else {}),
}


def one_by_one(result: Reconstruction) -> str:
    (file,) = result.files
    digest = hashlib.sha256(file.layout.prefix)
    for name in file.order:
        digest.update(result.tensor_bytes(name))
    return digest.hexdigest()


def float_product(result: Reconstruction, container: Container) -> str:
    """SHA-256 of base + A @ B over all low-rank tensors, in fp32 as BLAS does it."""
    digest = hashlib.sha256()
    for components, base in low_rank_tensors(result, container):
        scales = torch.from_numpy(components.exponents).to(torch.float32).mul(0.5).exp2()[:, None]
        sides = (components.a, components.b)
        left, right = (torch.from_numpy(side).to(torch.float32) * scales for side in sides)
        digest.update((base.to(torch.float32) + left.T @ right).numpy().tobytes())
    return digest.hexdigest()


def low_rank_tensors(result: Reconstruction, container: Container):
    for index, record in enumerate(container.header.tensors):
        if isinstance(record, LowRankRecord):
            memory = result.viewed_base(record)
            base = as_tensor(memory, record.matrix_shape, TORCH_DTYPES[record.base[0].dtype])
            yield decoded_delta(container, index), base


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("container", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--flush-first", action="store_true")
    parser.add_argument("--every-caller", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.flush_first:  # before torch starts its threads, which inherit it
        torch.set_flush_denormal(True)
        torch.ones(1 << 20).mul_(2)
    with open_checkpoint(options.base) as checkpoint:
        manifest = Manifest(tuple(checkpoint.fingerprints()))
    callers = CALLERS if options.every_caller else {"plain": nullcontext}
    exact = {}
    with (
        Container(options.container) as container,
        BaseWeights(open_checkpoint(options.base), manifest, "golden") as base,
    ):
        result = Reconstruction(container, base, container.header.encoding.tau)
        for name, caller in callers.items():
            with caller():
                exact[name] = [result.digests()[0].sha256, one_by_one(result)]
        products = (
            DeltaProduct(components) for components, _ in low_rank_tensors(result, container)
        )
        found = {
            "exact": exact,
            "float": float_product(result, container),
            "kinds": Counter(type(record).__name__ for record in container.header.tensors),
            "paths": Counter(product.path.__name__ for product in products),
        }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
