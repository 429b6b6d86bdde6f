"""Writing of a result as a file or a folder, which gets its name only after it was checked."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..checkpoint.folder import is_checkpoint_folder
from ..checkpoint.folder_listing import listing_digest
from ..checkpoint.tree import ListedFile
from ..container.reader import Container
from ..errors import InvalidArgument, ResultMismatch
from ..fs import Bytes, NewFile, check_place, new_file, new_folder, storage_errors
from ..hashing import sha256
from ..progress import Meter, Progress
from .base_weights import BaseWeights
from .cast import CastResult, FloatDtype, Uncast
from .kept_files import file_chunks, kept_chunks, kept_files
from .lossless import Lossless, LosslessReconstruction
from .other_layout import RelaidResult
from .reconstruction import Reconstruction, ResultDigest
from .recorded_digest import Recorded, proven_by_digest
from .result_layout import Files, ResultFile
from .target_layout import Target
from .version_shapes import Adjusted, Configuration


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


@dataclass(frozen=True)
class ResultRequest:
    """The form in which a result is written: its tau, its dtype and its files.

    None stands for the stored tau, the own dtypes and the own files. `lossless`: the residual that
    restores the source; None for the lossy result, and always None with a `tau`.
    """

    tau: float | None = None
    dtype: FloatDtype | None = None
    target: Target | None = None
    lossless: Lossless | None = None


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
    tau = container.header.encoding.tau if request.tau is None else request.tau
    with _made(container, base, tau, request) as result:
        write = _write_folder if result.is_folder else _write_file
        written = write(result, container, output, replace, progress)
    return Materialized(
        output,
        written.sha256,
        written.size,
        tau,
        recorded=result.recorded is not None,
        lossless=request.lossless is not None,
        left_out=result.left_out,
        adjusted=result.adjusted,
    )


@dataclass(frozen=True)
class _Other:
    """A file without tensors, and a function that yields its bytes."""

    file: ListedFile
    chunks: Callable[[], Iterator[Bytes]]


@dataclass(frozen=True)
class _Result:
    """The files to write. `recorded`: their recorded digests; None if there are none."""

    made: Files
    others: tuple[_Other, ...]
    is_folder: bool
    recorded: Recorded | None
    left_out: tuple[str, ...] = ()
    adjusted: tuple[Adjusted, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.made.files)


@contextlib.contextmanager
def _made(
    container: Container, base: BaseWeights, tau: float, request: ResultRequest
) -> Iterator[_Result]:
    is_folder = container.header.tree is not None
    others = tuple(_kept(container, base))
    if request.dtype is None and request.target is None and tau == container.header.encoding.tau:
        with proven_by_digest(container, base, request.lossless) as recorded:
            yield _Result(recorded.made, others, is_folder, recorded)
        return
    exact = Reconstruction(container, base, tau)
    if request.lossless is not None:
        exact = LosslessReconstruction(container, base, request.lossless)
    made: Uncast = exact
    left_out: tuple[str, ...] = ()
    adjusted: tuple[Adjusted, ...] = ()
    if request.target is not None:
        relaid = RelaidResult(exact, request.target)
        made, left_out, is_folder = relaid, relaid.left_out, request.target.is_folder
        others = tuple(_of_pattern(request.target, relaid.configurations))
        adjusted = tuple(entry.adjusted for entry in relaid.configurations.values())
    files = made if request.dtype is None else CastResult(made, request.dtype)
    yield _Result(files, others, is_folder, None, left_out, adjusted)


def _kept(container: Container, base: BaseWeights) -> Iterator[_Other]:
    for kept in kept_files(container):
        chunks = partial(kept_chunks, kept, container, base)
        yield _Other(ListedFile(kept.path, kept.sha256, kept.size), chunks)


def _of_pattern(target: Target, own: Mapping[str, Configuration]) -> Iterator[_Other]:
    for file in target.others:
        if file.path in own:
            data = own[file.path].data
            yield _Other(ListedFile(file.path, sha256(data), len(data)), partial(iter, (data,)))
        else:
            yield _Other(file, partial(file_chunks, file, (target.places or {})[file.path]))


def _write_file(
    result: _Result, container: Container, output: Path, replace: bool, progress: Progress
) -> ResultDigest:
    check_place(output, replace=replace)
    if result.recorded is None:
        container.check_payload()
    (only,) = result.made.files
    with new_file(output.parent, only.size) as file:
        digest = fill(file, result.made, only, Meter(progress, "materializing", only.size))
        if result.recorded is not None:
            result.recorded.check([digest])
        file.publish(output, replace=replace)
    return digest


def _write_folder(
    result: _Result, container: Container, output: Path, replace: bool, progress: Progress
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
    if result.recorded is None:
        container.check_payload()
    meter = Meter(progress, "materializing", result.size)
    digests, listed = [], []
    with new_folder(output.parent) as folder:
        for tensors in result.made.files:
            with folder.new_file(tensors.path, tensors.size) as file:
                digests.append(fill(file, result.made, tensors, meter))
            listed.append(ListedFile(tensors.path, digests[-1].sha256, digests[-1].size))
        for other in result.others:
            with folder.new_file(other.file.path, other.file.size) as file:
                for chunk in other.chunks():
                    file.write(chunk)
            listed.append(other.file)
        if result.recorded is not None:
            result.recorded.check(digests)
        folder.publish(output, replace=replace)
    return ResultDigest(listing_digest(listed), sum(file.size for file in listed))


def fill(file: NewFile, made: Files, which: ResultFile, meter: Meter) -> ResultDigest:
    """Write one file of `made`, and return its digest.

    Raises `ResultMismatch` if its size is not that of its layout.
    """
    digest, size = hashlib.sha256(), 0
    with contextlib.closing(made.chunks(which, file.write_at)) as chunks:
        for chunk in chunks:  # the thread that computed it has written it
            digest.update(chunk)
            size += len(chunk)
            meter.advance(len(chunk))
    if size != which.size:
        raise ResultMismatch(f"{which.path} came out with {size} bytes instead of {which.size}")
    return ResultDigest(digest.hexdigest(), size)
