"""The full checkpoint of a version: as a file or a folder, or as lazily made tensors."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from ...catalog import VersionRecord
from ...container.delta_decoder import check_lossy_result
from ...progress import Progress
from ...reconstruction.result_plan import ResultRequest
from ...reconstruction.write_result import Materialized, write_result
from ...tau import checked_tau
from ..repository import Repository
from ..upkeep.residuals import at_tau, open_lossless, residual_errors
from .output import check_folder, check_kind, check_output, open_target, pattern_of

if TYPE_CHECKING:
    from ...reconstruction.cast import FloatDtype
    from ...reconstruction.lazy_tensors import LazyTensors
    from ...reconstruction.target_layout import LayoutName


def materialize(
    version: VersionRecord,
    output: Path,
    repository: Repository,
    *,
    tau: float | None,
    dtype: FloatDtype | None,
    layout: LayoutName | None,
    like: str | None,
    replace: bool,
    progress: Progress,
) -> Materialized:
    """Write the full checkpoint of a version; see `Registry.materialize`."""
    tau = None if tau is None else checked_tau(tau)
    pattern = pattern_of(layout, like, repository)
    with (
        repository.open_version(version) as (container, weights),
        open_lossless(at_tau(version, tau), repository) as lossless,
    ):
        if lossless is None:
            check_lossy_result(container.header)
        check_output(output, repository)
        with open_target(layout, container, weights, pattern, repository) as target:
            is_folder = container.header.tree is not None if target is None else target.is_folder
            check_kind(output, "a folder" if is_folder else "a safetensors file")
            if is_folder:
                check_folder(output, repository)
            request = ResultRequest(tau, dtype, target, lossless)
            return write_result(
                container, weights, output, request, replace=replace, progress=progress
            )


def default_output(
    version: VersionRecord, layout: LayoutName | None, repository: Repository
) -> Path:
    """The default output: the model's name, with the ending `.safetensors` for a single file."""
    with repository.open_container(version) as container:
        is_folder = container.header.tree is not None
    if layout is not None:
        is_folder = layout == "diffusers"
    return Path(version.model if is_folder else f"{version.model}.safetensors")


def lazy_tensors(version: VersionRecord, tau: float | None, repository: Repository) -> LazyTensors:
    """The tensors of a version; with no `tau`, a lossless version gives those of its source."""
    from ...reconstruction.lazy_tensors import LazyTensors
    from ...reconstruction.lossless import LosslessReconstruction
    from ...reconstruction.reconstruction import Reconstruction

    tau = None if tau is None else checked_tau(tau)
    version = at_tau(version, tau)
    with contextlib.ExitStack() as opened:
        container, weights = opened.enter_context(repository.open_version(version))
        lossless = opened.enter_context(open_lossless(version, repository))
        if lossless is not None:
            reconstruction: Reconstruction = LosslessReconstruction(container, weights, lossless)
        else:
            check_lossy_result(container.header)
            stored = container.header.encoding.tau
            reconstruction = Reconstruction(container, weights, stored if tau is None else tau)
        errors = functools.partial(residual_errors, version, version.residual, repository)
        return LazyTensors(reconstruction, opened.pop_all(), errors)
