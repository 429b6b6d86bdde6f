"""Results: checkpoints, LoRAs and containers that versions give."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...progress import Progress, silent
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from ...catalog import VersionRecord
    from ...export import Dtype, ExportedLora, Format
    from ...reconstruction.cast import FloatDtype
    from ...reconstruction.lazy_tensors import LazyTensors
    from ...reconstruction.target_layout import LayoutName
    from ...reconstruction.write_result import Materialized
    from ..exchange.import_export import Exported
    from ..results.open_result import OpenResult
    from ..results.result_listing import ResultListings
    from ..results.result_pool import ResultEntry


class ResultMethods(OpenRegistry):
    """Results: checkpoints, LoRAs and containers that versions give."""

    def materialize(
        self,
        ref: str,
        output: str | Path,
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
        replace: bool = False,
        progress: Progress = silent,
    ) -> Materialized:
        """Write the full checkpoint of a version, a file or a folder, after its digest was checked.

        A lossless version gives its source again: a safetensors file or a folder to the byte, from
        other formats a safetensors file with every tensor to the bit.

        Args:
            ref: The version.
            output: The path to write to.
            tau: At most the stored tau; the result is then that of the container alone.
            dtype: "fp32", "fp16" or "bf16", to which the exact result is cast.
            layout: "diffusers" (a folder) or "single-file" (the original layout); default: as added.
            like: The base whose folder gives the configurations; default: the base of the version.
            replace: Replace `output` if it exists.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: A number is too large for `dtype`, or the layout is not possible.
            Conflict: `output` exists and `replace` is false.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.
            ResultMismatch: The result does not have the recorded SHA-256.

        Example:
            >>> done = registry.materialize("subject-42", "out.safetensors")
            >>> done.recorded, done.size == os.path.getsize("out.safetensors")
            (True, True)
        """
        from ..results.materialize import materialize

        return materialize(
            self.version(ref),
            Path(output),
            self.repository,
            tau=tau,
            dtype=dtype,
            layout=layout,
            like=like,
            replace=replace,
            progress=progress,
        )

    def check_output(self, output: str | Path) -> None:
        """Check, before the work, that a result may be written to `output`.

        Raises:
            InvalidArgument: It is standard output.
            Conflict: It is in the registry's folder or in a linked base, or would replace their files.

        Example:
            >>> registry.check_output(".dsvd/registry.json")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.Conflict: ...
        """
        from ..results.output import check_output

        check_output(Path(output), self.repository)

    def default_output(self, ref: str, layout: LayoutName | None = None) -> Path:
        """Find the default output of `dsvd materialize`: the model's name, with an ending for a file.

        Example:
            >>> str(registry.default_output("subject-42"))
            'subject-42.safetensors'
        """
        from ..results.materialize import default_output

        return default_output(self.version(ref), layout, self.repository)

    def tensors(self, ref: str, *, tau: float | None = None) -> LazyTensors:
        """Open the full checkpoint as a lazy mapping: each tensor is made when it is looked up.

        With no `tau`, a lossless version gives the tensors of its source. The mapping is a context
        manager, and keeps files open until it is closed.

        Raises:
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.

        Example:
            >>> with registry.tensors("subject-42") as tensors:
            ...     tensors["unet.weight"].shape
            torch.Size([16, 16])
        """
        from ..results.materialize import lazy_tensors

        return lazy_tensors(self.version(ref), tau, self.repository)

    def result_files(
        self,
        ref: str,
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
    ) -> tuple[ResultEntry, ...]:
        """List the files of the full checkpoint, with their sizes, before any of their bytes is made.

        Args:
            ref: The version.
            tau: As in `materialize`.
            dtype: As in `materialize`.
            layout: As in `materialize`.
            like: As in `materialize`.

        Returns:
            The files by path; a single file is `model.safetensors`.

        Example:
            >>> [file.path for file in registry.result_files("subject-42")]
            ['model.safetensors']
        """
        from ..results.result_listing import result_files
        from ..results.result_pool import ResultForm

        form = ResultForm(tau, dtype, layout, like)
        return result_files(self.version(ref), self.repository, self._pool.get(), form)

    def result_listings(
        self,
        versions: Iterable[VersionRecord],
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
    ) -> ResultListings:
        """List the files of many full checkpoints, as `result_files` does for one.

        Thousands of versions take one query of the catalog, which remembers the listings.

        Args:
            versions: The versions.
            tau: As in `materialize`.
            dtype: As in `materialize`.
            layout: As in `materialize`.
            like: As in `materialize`.

        Returns:
            `files`: those of each version by path, by its ref. `failures`: by ref, the errors of the
            versions that are damaged or do not have the form.

        Example:
            >>> listings = registry.result_listings(registry.versions())
            >>> [file.path for file in listings.files["subject-42@2"]]
            ['model.safetensors']
        """
        from ..results.result_listing import result_listings
        from ..results.result_pool import ResultForm

        form = ResultForm(tau, dtype, layout, like)
        return result_listings(versions, self.repository, self._pool.get(), form)

    def open_result(
        self,
        ref: str,
        path: str | None = None,
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
    ) -> OpenResult:
        """Open a file of the full checkpoint without writing it: only the bytes read are made.

        Args:
            ref: The version.
            path: The path of the file in `result_files`; it may be left out if there is only one.
            tau: As in `materialize`.
            dtype: As in `materialize`.
            layout: As in `materialize`.
            like: As in `materialize`.

        Returns:
            A read-only binary file that can be sought. Close it, or use it as a context manager. All
            that a process has open share a cache of 256 MiB, or DSVD_RESULT_CACHE bytes.

        Raises:
            NotFound: The full checkpoint has no such file.
            InvalidArgument: There are several files and none was named, or the form is not possible.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.

        Example:
            >>> with registry.open_result("subject-42") as file:
            ...     int.from_bytes(file.read(8), "little") < file.size
            True
        """
        from ..results.open_result import open_result
        from ..results.result_pool import ResultForm

        form = ResultForm(tau, dtype, layout, like)
        return open_result(self.version(ref), path, self.repository, self._pool.get(), form)

    def open_original(self, ref: str) -> BinaryIO:
        """Open the file that a lossless version was made from: the same bytes, also of a LoRA.

        Args:
            ref: The version.

        Returns:
            A read-only binary file that can be sought. Close it, or use it as a context manager.

        Raises:
            InvalidArgument: The version does not have all bytes of its source, or is a folder.

        Example:
            >>> registry.add("ft2.safetensors", base="sd15", name="kept", lossless=True).ref
            'kept@1'
            >>> with registry.open_original("kept") as file, open("ft2.safetensors", "rb") as source:
            ...     file.read() == source.read()
            True
        """
        from ..upkeep.originals import open_original

        return open_original(self.version(ref), self.repository, self._pool.get())

    def path(
        self,
        ref: str,
        *,
        tau: float | None = None,
        cache: str | Path | None = None,
        limit: int | None = None,
        progress: Progress = silent,
    ) -> Path:
        """Find a version as a read-only safetensors file in a cache; the file is made if missing.

        When the cache is full, the least recently used files are removed, never this one; copy a file
        that must stay. Any number of processes may share a cache.

        Args:
            ref: The version.
            tau: As in `materialize`.
            cache: The folder; default: DSVD_CACHE, or a folder in the user's cache.
            limit: The largest total size of its files in bytes; default: DSVD_CACHE_LIMIT, or 50 GB.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: The version is a folder.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.
            ResultMismatch: The result does not have the recorded SHA-256.

        Example:
            >>> registry.path("subject-42", cache="cache").suffix
            '.safetensors'
        """
        from ...cache import find_cache
        from ..results.cached_file import cached_file

        found = find_cache(cache, limit, os.environ)
        return cached_file(self.version(ref), tau, found, self.repository, progress)

    def export_lora(
        self,
        ref: str,
        output: str | Path,
        *,
        format: Format,
        rank_limit: int | None = None,
        dtype: Dtype = "fp16",
        replace: bool = False,
        progress: Progress = silent,
    ) -> ExportedLora:
        """Write the delta of a version as a LoRA file, or as folders for PEFT.

        Args:
            ref: The version.
            output: The path to write to. For the format "peft" a name that ends with `.safetensors`
                is a file for diffusers; another one is a folder, with a folder for each sub-model in
                it: `unet/adapter_config.json` and `unet/adapter_model.safetensors`.
            format: "kohya", "peft" or "comfyui".
            rank_limit: The largest rank of a module; default: the stored ranks. For the format "peft"
                every module has this rank, filled up with zeros, so that programs can swap the
                adapters of a base's versions in memory.
            dtype: "fp32" or "fp16", of the factors.
            replace: Replace `output` if it exists; of folders only one that an export wrote.
            progress: Called as the work goes on.

        Returns:
            The file that was written, the tensors that the format cannot represent, and the errors
            that these, cut ranks and rounding cause.

        Raises:
            InvalidArgument: The family cannot be exported, or no tensor of the version can be.
            Conflict: `output` exists and `replace` is false.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> registry.export_lora("subject-42", "lora.safetensors", format="kohya")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.InvalidArgument: ...
        """
        from ..results.lora_export import export_version_as_lora

        return export_version_as_lora(
            self.version(ref),
            self.repository,
            Path(output),
            format=format,
            rank_limit=rank_limit,
            dtype=dtype,
            replace=replace,
            progress=progress,
        )

    def export_container(
        self,
        ref: str,
        output: str | Path,
        *,
        replace: bool = False,
        progress: Progress = silent,
    ) -> Exported:
        """Write a version's container as a file of its own, for `import_container` elsewhere.

        Its signatures are written to a second file in the same folder, whose name ends with `.sig`;
        its residual to a third, whose name ends with `.dsvdr` instead of `.dsvd`; the original of a
        LoRA to one that ends with `.dsvdo`; its metadata and attachments to one that ends with `.dsvdm`.

        Args:
            ref: The version.
            output: The path to write to, such as `subject-42.dsvd`.
            replace: Replace the files if they exist.
            progress: Called as the work goes on.

        Raises:
            Conflict: A file exists and `replace` is false.
            InvalidArgument: `output` is not a plain file, or ends like another kind of file.

        Example:
            >>> exported = registry.export_container("subject-42", "subject-42.dsvd")
            >>> exported.sha256 == registry.version("subject-42").container
            True
        """
        from ..exchange.import_export import export_container

        return export_container(
            self.version(ref), self.repository, Path(output), replace=replace, progress=progress
        )
