"""Export of a version as a LoRA, after the checks of its output path; LoRA files in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...cache import Cache
from ...catalog import VersionRecord
from ...export import LoraForm
from ...export.export_lora import export_lora
from ...export.export_peft_folder import export_peft_folder
from ...export.layers import find_layers
from ...export.planned_size import planned_size, usual_format
from ...fs import make_folder, renew_time, storage_errors
from ...hashing import sha256
from ...progress import Meter, Progress
from ..describing.taken_in import metadata_for_lora
from ..repository import Repository
from .output import check_folder, check_kind, check_output

if TYPE_CHECKING:
    from ...export import Dtype, ExportedLora, Format

_FILE_ENDINGS = (".safetensors", ".sft")


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
    """Write the delta of a version as a LoRA; see `Registry.export_lora`."""
    with repository.open_version(version) as (container, weights):
        check_output(output, repository)
        total = sum(tensor.nbytes for tensor in container.header.tensors)
        advance = Meter(progress, "exporting", total).advance
        if format == "peft" and output.suffix.lower() not in _FILE_ENDINGS:
            check_kind(output, "a folder for PEFT")
            check_folder(output, repository)
            return export_peft_folder(
                container,
                weights,
                output,
                rank_limit=rank_limit,
                dtype=dtype,
                replace=replace,
                advance=advance,
            )
        check_kind(output, "a safetensors file")
        return export_lora(
            container,
            weights,
            output,
            format=format,
            rank_limit=rank_limit,
            dtype=dtype,
            replace=replace,
            advance=advance,
            described=metadata_for_lora(repository.catalog.metadata(version.ref)),
        )


def planned_lora_size(version: VersionRecord, repository: Repository) -> int | None:
    """The size in bytes of the file of `cached_lora`; None for a version that can have none.

    Raises `ContainerError`, `CheckpointError`.
    """
    with repository.open_container(version) as container:
        return planned_size(container.header)


def cached_lora(
    version: VersionRecord, form: LoraForm, size: int | None, repository: Repository, cache: Cache
) -> Path:
    """A version as a LoRA file in the cache, made if it is not there.

    `size`: the size that the file must have; None for that of its content. Raises as `export_lora`.
    """
    words = f"lora {form.format} {form.rank_limit} {form.dtype} {size} {version.container}"
    path = cache.path_of(sha256(words.encode()))
    make_folder(cache.folder)
    renew_time(path)
    with storage_errors(path):
        is_there = path.is_file() and size in (None, path.stat().st_size)
    if not is_there:
        cache.remove_abandoned()
        cache.make_room(path, coming=size or 0)
        with repository.open_version(version) as (container, weights):
            layers = find_layers({tensor.name: tensor for tensor in container.header.tensors})
            export_lora(
                container,
                weights,
                path,
                format=form.format or usual_format(layers),
                rank_limit=form.rank_limit,
                dtype=form.dtype,
                replace=True,
                advance=lambda _: None,
                size=size,
            )
    cache.make_room(path)
    return path
