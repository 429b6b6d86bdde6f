"""In a process of its own, without torch: digests of what the spec's decoder makes of a container.

    python reference_worker.py DECODER CONTAINER BASE

Prints JSON: `exact`, the SHA-256 of the result; `float`, that of a plain fp32 product by numpy.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import LowRankRecord

Base = dict[str, tuple[str, tuple[int, ...], bytes]]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_decoder", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def read_base(path: Path) -> Base:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    base = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            base[name] = entry["dtype"], tuple(entry["shape"]), data[start + first : start + end]
    return base


def float_product(path: Path) -> str:
    digest = hashlib.sha256()
    with Container(path) as container:
        for index, record in enumerate(container.header.tensors):
            if isinstance(record, LowRankRecord):
                scales = np.exp2(container.table(index).exponents / 2).astype(np.float32)[:, None]
                a, b = container.components(index, record.rank)
                product = (a.astype(np.float32) * scales).T @ (b.astype(np.float32) * scales)
                digest.update(product.tobytes())
    return digest.hexdigest()


def main() -> None:
    decoder, container, base = (Path(argument) for argument in sys.argv[1:])
    result = load(decoder).decode(container.read_bytes(), read_base(base))
    found = {"exact": hashlib.sha256(result).hexdigest(), "float": float_product(container)}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
