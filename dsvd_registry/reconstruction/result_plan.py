"""The files of a result in the requested form, planned: what they are before any byte is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ..checkpoint.tree import ListedFile
from ..container.reader import Container
from ..container.records import Header
from ..container.records import Result as RecordedResult
from ..hashing import sha256
from .base_weights import BaseReader
from .cast import CastResult, FloatDtype
from .file_plan import FilePlan, Result, plan_of, plan_of_bytes
from .kept_files import listed_plan
from .lossless import Lossless, LosslessReconstruction
from .other_layout import RelaidResult
from .reconstruction import Reconstruction
from .target_layout import TargetLayout
from .version_shapes import Adjusted, Configuration


@dataclass(frozen=True)
class ResultRequest:
    """The form of a result: its tau, its dtype and its files.

    None stands for the stored tau, the own dtypes and the own files. `lossless`: the residual that
    restores the source; None for the lossy result, and always None with a `tau`.
    """

    tau: float | None = None
    dtype: FloatDtype | None = None
    target: TargetLayout | None = None
    lossless: Lossless | None = None

    def tau_of(self, header: Header) -> float:
        """The requested tau, or the stored one."""
        return header.encoding.tau if self.tau is None else self.tau

    def recorded(self, header: Header) -> tuple[RecordedResult, ...] | None:
        """The recorded digests of the files with tensors; None if there are none for this form."""
        if self.dtype or self.target or self.tau_of(header) != header.encoding.tau:
            return None
        return header.results if self.lossless is None else self.lossless.results


@dataclass(frozen=True)
class KeptPlan:
    """A file without tensors; `open` gives its plan, and opens it if it is a file on disk."""

    file: ListedFile
    open: Callable[[], FilePlan]


@dataclass(frozen=True)
class PlannedResult:
    """The plans of all files: `plans` of those with tensors, `kept` of the others."""

    plans: tuple[FilePlan, ...]
    kept: tuple[KeptPlan, ...]
    is_folder: bool
    left_out: tuple[str, ...] = ()
    adjusted: tuple[Adjusted, ...] = ()


def reconstruction_of(
    container: Container, base: BaseReader, request: ResultRequest
) -> Reconstruction:
    """The exact result that a request starts from, before it is cast or laid out in another way.

    Raises as `Reconstruction` and `LosslessReconstruction`.
    """
    if request.lossless is not None:
        return LosslessReconstruction(container, base, request.lossless)
    return Reconstruction(container, base, request.tau_of(container.header))


def planned(exact: Reconstruction, request: ResultRequest) -> PlannedResult:
    """The files of `exact` in the requested form.

    Raises `InvalidArgument` for a layout that the version has no weights for, `BaseMismatch`.
    """
    made: Result = exact
    kept = tuple(_own(exact))
    is_folder = exact.header.tree is not None
    left_out: tuple[str, ...] = ()
    adjusted: tuple[Adjusted, ...] = ()
    if request.target is not None:
        relaid = RelaidResult(exact, request.target)
        made, left_out, is_folder = relaid, relaid.left_out, request.target.is_folder
        kept = tuple(_of_target(request.target, relaid.configurations))
        adjusted = tuple(entry.adjusted for entry in relaid.configurations.values())
    if request.dtype is not None:
        made = CastResult(made, request.dtype)
    plans = tuple(plan_of(made, file) for file in made.files)
    return PlannedResult(plans, kept, is_folder, left_out, adjusted)


def _own(exact: Reconstruction) -> Iterator[KeptPlan]:
    for kept in exact.kept_files:
        file = ListedFile(kept.path, kept.sha256, kept.size)
        yield KeptPlan(file, partial(exact.kept_plan, kept))


def _of_target(target: TargetLayout, own: Mapping[str, Configuration]) -> Iterator[KeptPlan]:
    for file in target.others:
        if file.path in own:
            data = own[file.path].data
            listed = ListedFile(file.path, sha256(data), len(data))
            yield KeptPlan(listed, partial(plan_of_bytes, file.path, data))
        else:
            place = (target.places or {})[file.path]
            yield KeptPlan(file, partial(listed_plan, file, place))
