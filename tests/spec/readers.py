"""Both readers of a container, as functions of files: the package's, and the one beside the spec."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from dsvd_registry.container.reader import Container
from dsvd_registry.progress import silent
from dsvd_registry.reconstruction.base_weights import BaseWeights
from dsvd_registry.reconstruction.materializing import write_result
from dsvd_registry.reconstruction.reconstruction import Reconstruction
from dsvd_registry.registry.opening import fingerprint_checkpoint

SPEC = Path(__file__).parents[2] / "spec"


def _load(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[path.stem] = module
    found.loader.exec_module(module)
    return module


decoder = _load(SPEC / "reference_decoder.py")


@contextmanager
def base_weights(path: Path) -> Iterator[BaseWeights]:
    """The base that a safetensors file holds."""
    manifest, _, _ = fingerprint_checkpoint(path, silent)
    with BaseWeights(path, manifest, path.name) as base:
        yield base


def package_writes(file: Path, base: Path, output: Path, tau: float | None = None) -> None:
    """As `dsvd materialize` does, with the payload's digest compared as `dsvd verify` does."""
    with base_weights(base) as weights, Container(file) as container:
        container.check_payload()
        write_result(container, weights, output, tau=tau, replace=False, progress=silent)


def package_gives(file: Path, base: Path, tau: float) -> bytes:
    """The result, in memory and without a comparison with the recorded one."""
    with base_weights(base) as weights, Container(file) as container:
        container.check_payload()
        return b"".join(bytes(chunk) for chunk in Reconstruction(container, weights, tau).chunks())


def decoder_gives(file: Path, base: Path, tau: float | None = None) -> bytes:
    tensors = decoder.read_safetensors(base.read_bytes())
    result: bytes = decoder.decode(file.read_bytes(), tensors, tau)
    return result
