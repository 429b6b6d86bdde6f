"""Export of a version as a LoRA file, after the checks of its output path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...catalog import VersionRecord
from ...export.export_lora import export_lora
from ...export.layers import find_layers
from ...export.planned_size import planned_size, usual_format
from ...fs import make_folder, renew_time, storage_errors
from ...hashing import sha256
from ...progress import Meter, Progress
from ..repository import Repository
from .cache import Cache
from .output import check_kind, check_output

if TYPE_CHECKING:
    from ...export import Dtype, ExportedLora, Format


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


def planned_lora_size(version: VersionRecord, repository: Repository) -> int | None:
    """The size in bytes of the file of `cached_lora`; None for a version that can have none.

    Raises `ContainerError`, `CheckpointError`.
    """
    with repository.open_container(version) as container:
        return planned_size(container.header)


def cached_lora(version: VersionRecord, size: int, repository: Repository, cache: Cache) -> Path:
    """A version as a LoRA file of its planned size, made if the cache lacks it.

    Raises as `export_lora`.
    """
    path = cache.path_of(sha256(f"lora fp16 {size} {version.container}".encode()))
    make_folder(cache.folder)
    renew_time(path)
    with storage_errors(path):
        is_there = path.is_file() and path.stat().st_size == size
    if not is_there:
        cache.remove_abandoned()
        cache.make_room(path, size)
        with repository.open_version(version) as (container, weights):
            layers = find_layers({tensor.name: tensor for tensor in container.header.tensors})
            export_lora(
                container,
                weights,
                path,
                format=usual_format(layers),
                rank_limit=None,
                dtype="fp16",
                replace=True,
                advance=lambda _: None,
                size=size,
            )
    cache.make_room(path)
    return path
