"""Both readers of a residual, as functions of files: the package's, and the one beside the spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsvd_registry.container.reader import Container
from dsvd_registry.hashing import sha256_file
from dsvd_registry.progress import silent
from dsvd_registry.reconstruction.lossless import Lossless
from dsvd_registry.reconstruction.result_plan import ResultRequest
from dsvd_registry.reconstruction.write_result import write_result
from dsvd_registry.residual.reader import Residual

from .readers import SPEC, _load, base_weights, decoder, files_in

residual_decoder = _load(SPEC / "reference_residual.py")  # it imports the decoder of containers
assert residual_decoder.InvalidContainer is decoder.InvalidContainer


def package_writes_source(container: Path, base: Path, residual: Path, output: Path) -> None:
    """As `dsvd materialize` does of a lossless version."""
    with (
        base_weights(base) as weights,
        Container(container) as opened,
        Residual(residual) as lacking,
    ):
        wish = ResultRequest(lossless=Lossless(lacking, sha256_file(container)))
        write_result(opened, weights, output, wish, replace=False, progress=silent)


def decoder_gives_source(container: Path, base: Path, residual: Path) -> Any:
    """The bytes of the single result, or those of the files of a tree by path."""
    tensors, files = decoder.read_base(base)
    return residual_decoder.decode(container.read_bytes(), tensors, residual.read_bytes(), files)


def written_files(place: Path) -> dict[str, bytes]:
    """What was written, by path."""
    return {"model.safetensors": place.read_bytes()} if place.is_file() else files_in(place)
