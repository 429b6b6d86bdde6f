"""Export of a version as a LoRA file, after the checks of its output path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import VersionRecord
from ..export.export_lora import export_lora
from ..progress import Meter, Progress
from .output import check_kind, check_output
from .repository import Repository

if TYPE_CHECKING:
    from ..export import Dtype, ExportedLora, Format


def export_version_as_lora(
    version: VersionRecord,
    repository: Repository,
    output: Path,
    *,
    format: Format,
    rank_limit: int | None,
    dtype: Dtype,
    replace: bool,
    progress: Progress,
) -> ExportedLora:
    """Write the delta of a version as a LoRA file; see `Registry.export_lora`."""
    with repository.open_version(version) as (container, weights):
        check_output(output, repository)
        check_kind(output, "a safetensors file")
        total = sum(tensor.nbytes for tensor in container.header.tensors)
        return export_lora(
            container,
            weights,
            output,
            format=format,
            rank_limit=rank_limit,
            dtype=dtype,
            replace=replace,
            advance=Meter(progress, "exporting", total).advance,
        )
