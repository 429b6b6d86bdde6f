"""Both readers of a container, as functions of files: the package's, and the one beside the spec."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.container.reader import Container
from dsvd_registry.progress import silent
from dsvd_registry.reconstruction.base_weights import BaseWeights
from dsvd_registry.reconstruction.file_assembly import whole_file
from dsvd_registry.reconstruction.kept_files import kept_files, kept_plan
from dsvd_registry.reconstruction.reconstruction import Reconstruction
from dsvd_registry.reconstruction.result_plan import ResultRequest
from dsvd_registry.reconstruction.write_result import write_result
from dsvd_registry.registry.adding.fingerprint import fingerprint_checkpoint

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
    """The base that a safetensors file or a folder holds."""
    with open_checkpoint(path) as checkpoint:
        manifest = fingerprint_checkpoint(checkpoint, silent)
        yield BaseWeights(checkpoint, manifest, path.name)


def valid_files(name: str) -> tuple[Path, Path]:
    """A valid golden container, and its base: a file or a folder."""
    file, folder = SPEC / f"vectors/valid/{name}.dsvd", SPEC / f"vectors/valid/{name}.base"
    return file, folder if folder.is_dir() else folder.with_suffix(".base.safetensors")


def golden_digests(vector: dict[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
    """Each tau that is told of a valid vector, and the SHA-256 of every file at it, by path."""
    for told in ({"tau": vector["tau"], **vector.get("result", vector)}, *vector["lower"]):
        files = told.get("files", {"model.safetensors": told})
        yield told["tau"], {path: file["sha256"] for path, file in files.items()}


def package_writes(file: Path, base: Path, output: Path, tau: float | None = None) -> None:
    """As `dsvd materialize` does, with every frame's digest compared as `dsvd verify` does."""
    with base_weights(base) as weights, Container(file) as container:
        container.check_file()
        write_result(container, weights, output, ResultRequest(tau), replace=False, progress=silent)


def package_gives_files(file: Path, base: Path, tau: float) -> dict[str, bytes]:
    """The result or the files of a tree, by path. Those that hold no tensors are compared."""
    with base_weights(base) as weights, Container(file) as container:
        container.check_file()
        result = Reconstruction(container, weights, tau)
        made = {one.path: b"".join(map(bytes, result.chunks(one))) for one in result.files}
        for kept in kept_files(container):
            made[kept.path] = whole_file(kept_plan(kept, container, weights))
        return made


def decoder_gives(file: Path, base: Path, tau: float | None = None) -> Any:
    """The bytes of the single result, or those of the files of a tree by path."""
    tensors, files = decoder.read_base(base)
    return decoder.decode(file.read_bytes(), tensors, tau, files)


def files_in(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
