"""What can be made of a version: a checkpoint, its tensors, a LoRA file, a portable container."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..encoding.asked import checked_tau
from ..errors import InvalidArgument
from ..progress import Meter, Progress, silent
from .opened import OpenRegistry
from .places import check_folder, check_kind

if TYPE_CHECKING:
    from ..export import Dtype, ExportedLora, Format
    from ..reconstruction.casting import CastDtype
    from ..reconstruction.materializing import Materialized
    from ..reconstruction.target import LayoutName
    from ..reconstruction.tensors import LazyTensors
    from .portable import Exported


class Outputs(OpenRegistry):
    """Versions written out."""

    def materialize(
        self,
        ref: str,
        output: str | Path,
        *,
        tau: float | None = None,
        dtype: CastDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
        replace: bool = False,
        progress: Progress = silent,
    ) -> Materialized:
        """Write the full checkpoint of a version, a file or a folder, checked before it has its name.

        Of a lossless version it is the source again: a safetensors file or a folder to the byte, of
        others every tensor to the bit. `tau`: what the container alone gives, at the stored one or a
        lower one. `dtype`: "fp32", "fp16" or "bf16", to which the exact result
        is cast. `layout`: "diffusers", a folder, or "single-file", in the original layout; default:
        as added. `like`: the base whose folder has the configurations for that; default: the
        version's own base. Raises `InvalidArgument` for a number that a dtype has no room for and a
        layout that cannot be had, `Conflict`, `BaseMismatch`, `ContainerError`, `TauNotServed`,
        `ResultMismatch`.
        """
        from ..reconstruction.materializing import Wish, write_result
        from .layouts_out import open_target
        from .lossless import at_tau, opened_lossless
        from .opening import open_version

        tau = None if tau is None else checked_tau(tau)
        if like is not None and layout != "diffusers":
            raise InvalidArgument("like is for the layout diffusers alone", "Leave --like out.")
        pattern = None if like is None else self._catalog.base(like)
        version = self.version(ref)
        with (
            open_version(version, self._catalog, self._objects) as (container, weights),
            opened_lossless(at_tau(version, tau), self._objects) as lossless,
        ):
            self.check_output(output)
            with open_target(layout, container, weights, pattern, self._objects) as target:
                is_folder = (
                    container.header.tree is not None if target is None else target.is_folder
                )
                check_kind(Path(output), "a folder" if is_folder else "a safetensors file")
                if is_folder:
                    check_folder(Path(output), self._kept())
                return write_result(
                    container,
                    weights,
                    Path(output),
                    Wish(tau, dtype, target, lossless),
                    replace=replace,
                    progress=progress,
                )

    def default_output(self, ref: str, layout: LayoutName | None = None) -> Path:
        """Where `dsvd materialize` writes: the model's name, with `.safetensors` for a single file."""
        from .opening import open_container

        version = self.version(ref)
        with open_container(version, self._objects) as container:
            is_folder = container.header.tree is not None
        if layout is not None:
            is_folder = layout == "diffusers"
        return Path(version.model if is_folder else f"{version.model}.safetensors")

    def tensors(self, ref: str, *, tau: float | None = None) -> LazyTensors:
        """The full checkpoint as a lazy mapping: each tensor is made when it is looked up.

        Of a lossless version they are the source's, unless a `tau` is given. The mapping is a context
        manager too, and holds files open until it is closed.
        """
        from ..reconstruction.lossless import LosslessReconstruction
        from ..reconstruction.reconstruction import Reconstruction
        from ..reconstruction.tensors import LazyTensors
        from .lossless import at_tau, opened_lossless, telling
        from .opening import open_version

        tau = None if tau is None else checked_tau(tau)
        version = at_tau(self.version(ref), tau)
        with contextlib.ExitStack() as opened:
            container, weights = opened.enter_context(
                open_version(version, self._catalog, self._objects)
            )
            lossless = opened.enter_context(opened_lossless(version, self._objects))
            if lossless is not None:
                made: Reconstruction = LosslessReconstruction(container, weights, lossless)
            else:
                stored = container.header.encoding.tau
                made = Reconstruction(container, weights, stored if tau is None else tau)
            told = functools.partial(telling, version, version.residual, self._objects)
            return LazyTensors(made, opened.pop_all(), told)

    def path(
        self,
        ref: str,
        *,
        tau: float | None = None,
        cache: str | Path | None = None,
        limit: int | None = None,
        progress: Progress = silent,
    ) -> Path:
        """The path of a version as a read-only safetensors file in a cache, made unless it is there.

        Files in `cache` (default: DSVD_CACHE, or a folder in the user's cache) add up to `limit`
        bytes (default: DSVD_CACHE_LIMIT, or 50 GB): the least recently asked for go first, never
        this one; copy a file that is to stay. Any number of processes may share a cache. Raises as
        `materialize`, and `InvalidArgument` for a version that is a folder.
        """
        from .cache import find_cache
        from .cached_file import cached_file

        place = find_cache(cache, limit, os.environ)
        tau = None if tau is None else checked_tau(tau)
        version = self.version(ref)
        return cached_file(version, tau, place, self._catalog, self._objects, progress)

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
        """Write the delta of a version as a LoRA file: "kohya", "peft" or "comfyui".

        `rank_limit`: the most components of a module. The answer tells what the format cannot hold,
        and the error that this, cut ranks and rounding cost. Raises `InvalidArgument` for a family
        that is not exported or where nothing can be, `Conflict`, `BaseMismatch`, `ContainerError`.
        """
        from ..export.exporting import export_lora
        from .opening import open_version

        version = self.version(ref)
        with open_version(version, self._catalog, self._objects) as (container, weights):
            self.check_output(output)
            check_kind(Path(output), "a safetensors file")
            total = sum(tensor.nbytes for tensor in container.header.tensors)
            return export_lora(
                container,
                weights,
                Path(output),
                format=format,
                rank_limit=rank_limit,
                dtype=dtype,
                replace=replace,
                advance=Meter(progress, "exporting", total).advance,
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

        Its signatures, if it has any, go into a file beside it, whose name ends with `.sig`; what makes
        it lossless, into one whose name ends with `.dsvdr` in place of `.dsvd`.
        Raises `Conflict` if a file exists and `replace` is false, `InvalidArgument`.
        """
        from .portable import export_container
        from .signed import signatures_of

        version = self.version(ref)
        self.check_output(output)
        check_kind(Path(output), "a .dsvd file")
        return export_container(
            version,
            signatures_of(self._catalog.signatures(version.ref), self._objects),
            self._objects,
            Path(output),
            replace=replace,
            progress=progress,
        )
