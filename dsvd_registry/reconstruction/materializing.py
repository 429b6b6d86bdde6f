"""A version as a file: written beside its place, checked, and only then given its name."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..checkpoint.layout import SafetensorsLayout
from ..container.reader import Container
from ..errors import InvalidArgument
from ..fs import Bytes, NewFile, new_file, storage_errors
from ..progress import Meter, Progress
from .assembling import Place
from .base_weights import BaseWeights
from .casting import CastDtype, CastResult
from .proving import check_recorded, proven_by_digest
from .reconstruction import Reconstruction, ResultDigest


@dataclass(frozen=True)
class Materialized:
    """A file that was written. `recorded`: its SHA-256 was compared with the one in the container.

    `recorded` is False for a tau below the stored one and for a cast: the container keeps no digest
    of these.
    """

    path: Path
    sha256: str
    size: int
    tau: float
    recorded: bool


def write_result(
    container: Container,
    base: BaseWeights,
    output: Path,
    *,
    tau: float | None,
    dtype: CastDtype | None = None,
    replace: bool,
    progress: Progress,
) -> Materialized:
    """Write the result at `tau` (default: the stored one), cast to `dtype` if one is given.

    Raises `InvalidArgument` for what `dtype` has no room for, `Conflict` if `output` exists and
    `replace` is false, `ResultMismatch`, `BaseMismatch`, `ContainerError`, `TauNotServed`,
    `StorageError`; then nothing is left behind.
    """
    stored = container.header.encoding.tau
    if dtype is None and (tau is None or tau == stored):
        with proven_by_digest(container, base) as reconstruction:
            _check_place(output, replace)
            with new_file(output.parent) as file:
                found = _write(reconstruction, file, progress)
                check_recorded(container, found)
                file.publish(output, replace=replace)
        return Materialized(output, found.sha256, found.size, stored, recorded=True)
    tau = stored if tau is None else tau
    result: Result = Reconstruction(container, base, tau)
    if dtype is not None:
        result = CastResult(Reconstruction(container, base, tau), dtype)
    _check_place(output, replace)
    container.check_payload()  # no digest of this result is recorded
    with new_file(output.parent) as file:
        found = _write(result, file, progress)
        file.publish(output, replace=replace)
    return Materialized(output, found.sha256, found.size, tau, recorded=False)


def _check_place(output: Path, replace: bool) -> None:
    with storage_errors(output):
        if output.exists() and not replace:
            raise FileExistsError(output)
        if output.exists() and not output.is_file():
            raise InvalidArgument(f"{output} is not a plain file", "Give the path of a file.")


class Result(Protocol):
    """A file that is made from first byte to last."""

    def layout(self) -> SafetensorsLayout: ...

    def chunks(self, place: Place) -> Generator[Bytes, None, None]: ...


def _write(result: Result, file: NewFile, progress: Progress) -> ResultDigest:
    digest = hashlib.sha256()
    size = result.layout().size
    meter = Meter(progress, "materializing", size)
    with contextlib.closing(result.chunks(file.write_at)) as chunks:
        for chunk in chunks:  # written already, by the thread that made it
            digest.update(chunk)
            meter.advance(len(chunk))
    return ResultDigest(digest.hexdigest(), size)
