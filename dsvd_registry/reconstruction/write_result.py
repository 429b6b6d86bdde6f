"""Writing of a result as a file, a folder or a cached file, named only after it was checked."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.folder import is_checkpoint_folder
from ..checkpoint.folder_listing import listing_digest
from ..checkpoint.tree import ListedFile
from ..container.reader import Container
from ..errors import InvalidArgument, ResultMismatch
from ..fs import NewFile, check_place, new_file, new_folder, storage_errors
from ..progress import Meter, Progress, silent
from .base_weights import BaseWeights
from .file_assembly import file_bytes
from .file_plan import FilePlan, plan_of
from .lossless import Lossless
from .reconstruction import Reconstruction, ResultDigest
from .recorded_digest import Recorded, proven_by_digest
from .result_plan import PlannedResult, ResultRequest, planned, reconstruction_of
from .version_shapes import Adjusted


@dataclass(frozen=True)
class Materialized:
    """A checkpoint that was written.

    `sha256`, `size`: of the file, or the digest of the folder's listing and the sum of its files.
    `recorded`: whether the SHA-256 was compared with the recorded one. It is False for a tau below
    the stored one, for a cast and for another layout, of which no digest is recorded. `lossless`:
    whether it is the source, or another form of the source. `left_out`: the tensors that another
    layout has no place for. `adjusted`: the numbers that were adjusted in its configurations.
    """

    path: Path
    sha256: str
    size: int
    tau: float
    recorded: bool
    lossless: bool = False
    left_out: tuple[str, ...] = ()
    adjusted: tuple[Adjusted, ...] = ()


def write_result(
    container: Container,
    base: BaseWeights,
    output: Path,
    request: ResultRequest,
    *,
    replace: bool,
    progress: Progress,
) -> Materialized:
    """Write the result as requested. If it fails, nothing is left behind.

    Raises `InvalidArgument` for numbers beyond the range of the dtype, and for a layout that the
    version has no weights for. Raises `Conflict` if `output` exists and `replace` is false. Also
    raises `ResultMismatch`, `BaseMismatch`, `ContainerError`, `TauNotServed`, `StorageError`.
    """
    with _planned(container, base, request) as (result, recorded):
        write = _write_folder if result.is_folder else _write_file
        written = write(result, recorded, output, replace, progress)
    return Materialized(
        output,
        written.sha256,
        written.size,
        request.tau_of(container.header),
        recorded=recorded is not None,
        lossless=request.lossless is not None,
        left_out=result.left_out,
        adjusted=result.adjusted,
    )


@contextlib.contextmanager
def _planned(
    container: Container, base: BaseWeights, request: ResultRequest
) -> Iterator[tuple[PlannedResult, Recorded | None]]:
    """The files to write, and their recorded digests, if there are any."""
    if request.recorded(container.header) is None:
        exact = reconstruction_of(container, base, request)
        exact.expect_all()
        yield planned(exact, request), None
        return
    with proven_by_digest(container, base, request.lossless) as recorded:
        recorded.made.expect_all()
        yield planned(recorded.made, request), recorded


def _write_file(
    result: PlannedResult,
    recorded: Recorded | None,
    output: Path,
    replace: bool,
    progress: Progress,
) -> ResultDigest:
    check_place(output, replace=replace)
    (only,) = result.plans
    with new_file(output.parent, only.size) as file:
        digest = fill(file, only, Meter(progress, "materializing", only.size))
        if recorded is not None:
            recorded.check([digest])
        file.publish(output, replace=replace)
    return digest


def _write_folder(
    result: PlannedResult,
    recorded: Recorded | None,
    output: Path,
    replace: bool,
    progress: Progress,
) -> ResultDigest:
    with storage_errors(output):
        if output.exists() and not replace:
            raise FileExistsError(output)
        is_empty = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_empty and not is_checkpoint_folder(output):
        raise InvalidArgument(
            f"{output} is not a folder that diffusers saves, and is not replaced",
            "Give another path, or remove it yourself.",
        )
    meter = Meter(progress, "materializing", sum(plan.size for plan in result.plans))
    unmetered = Meter(silent, "", 0)
    with new_folder(output.parent) as folder:

        def written(plan: FilePlan, meter: Meter) -> ResultDigest:
            with folder.new_file(plan.path, plan.size) as file:
                return fill(file, plan, meter)

        digests = [written(plan, meter) for plan in result.plans]
        for kept in result.kept:
            written(kept.open(), unmetered)
        if recorded is not None:
            recorded.check(digests)
        folder.publish(output, replace=replace)
    listed = [kept.file for kept in result.kept]
    for plan, digest in zip(result.plans, digests, strict=True):
        listed.append(ListedFile(plan.path, digest.sha256, digest.size))
    return ResultDigest(listing_digest(listed), sum(file.size for file in listed))


def fill(file: NewFile, plan: FilePlan, meter: Meter) -> ResultDigest:
    """Write one file, and return its digest.

    Raises `ResultMismatch` if its size is not that of its plan.
    """
    digest, size = hashlib.sha256(), 0
    with contextlib.closing(file_bytes(plan, file.write_at)) as chunks:
        for chunk in chunks:  # the thread that computed it has written it
            digest.update(chunk)
            size += len(chunk)
            meter.advance(len(chunk))
    if size != plan.size:
        raise ResultMismatch(f"{plan.path} came out with {size} bytes instead of {plan.size}")
    return ResultDigest(digest.hexdigest(), size)


def write_cached(
    container: Container,
    base: BaseWeights,
    tau: float | None,
    lossless: Lossless | None,
    path: Path,
    size: int,
    progress: Progress,
) -> None:
    """Write the result at `tau`, of `size` bytes, to `path` as a read-only file.

    `tau`: None for the recorded result. An existing file is replaced: another process may have
    written the same result in the meantime, and readers keep the file that they opened. Raises as
    `write_result`; `path` then stays as it was.
    """
    with new_file(path.parent, size) as file:
        if tau is None:
            with proven_by_digest(container, base, lossless) as recorded:
                recorded.check([_filled(file, recorded.made, progress)])
        else:
            reconstruction = Reconstruction(container, base, tau)
            _filled(file, reconstruction, progress)
        file.publish(path, replace=True, read_only=True)


def _filled(file: NewFile, reconstruction: Reconstruction, progress: Progress) -> ResultDigest:
    reconstruction.expect_all()
    (only,) = reconstruction.files
    meter = Meter(progress, "materializing", only.size)
    return fill(file, plan_of(reconstruction, only), meter)
