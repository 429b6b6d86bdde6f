"""Subjects of a registry on this machine, by `dsvd-registry` in ComfyUI's Python."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .file_cache import FileCache
from .source import SERVER, Advance, Picture, SubjectError, Version

if TYPE_CHECKING:
    from dsvd_registry import Registry
    from dsvd_registry.progress import Progress

MOUNT = "DSVD_MOUNT"


@dataclass(frozen=True)
class LocalRegistry:
    """The registry that `dsvd` finds: DSVD_REGISTRY, or the one in the user's data folder."""

    cache: FileCache

    def names(self) -> list[str]:
        with _registry() as registry:
            return sorted({version.model for version in registry.versions()})

    def version(self, ref: str) -> Version:
        with _registry() as registry:
            found = registry.version(ref)
            return Version(found.ref, found.container)

    def checkpoint(self, ref: str, tau: float | None, advance: Advance) -> Path:
        progress = _progress(advance)
        with _registry() as registry:
            version = registry.version(ref)
            mounted = _mounted(version.ref, ".safetensors")
            if tau is None and mounted is not None:
                return mounted
            files = registry.result_files(version.ref, tau=tau)
            if len(files) == 1:
                folder, limit = self.cache.folder, self.cache.limit
                return registry.path(
                    version.ref, tau=tau, cache=folder, limit=limit, progress=progress
                )
            output = self.cache.path_for("single-file", version.container, str(tau))
            if not self.cache.has(output):
                self.cache.folder.mkdir(parents=True, exist_ok=True)
                size = sum(file.size for file in files)
                self.cache.make_room(output, size)
                registry.materialize(
                    version.ref,
                    output,
                    tau=tau,
                    layout="single-file",
                    replace=True,
                    progress=progress,
                )
            return output

    def adapter(self, ref: str, advance: Advance) -> Path:
        with _registry() as registry:
            version = registry.version(ref)
            output = self.cache.path_for("comfyui", "fp32", version.container)
            if not self.cache.has(output):
                self.cache.folder.mkdir(parents=True, exist_ok=True)
                registry.export_lora(
                    version.ref,
                    output,
                    format="comfyui",
                    dtype="fp32",
                    replace=True,
                    progress=_progress(advance),
                )
                self.cache.make_room(output, output.stat().st_size)
            return output

    def preview(self, ref: str) -> Picture:
        with _registry() as registry:
            for attachment in registry.attachments(ref):
                if attachment.role == "preview":
                    with registry.open_attachment(ref, attachment.name) as file:
                        return Picture(file.read(), attachment.media_type)
        raise SubjectError(f"{ref} has no preview.")


@contextmanager
def _registry() -> Iterator[Registry]:
    """The registry, open; its errors as `SubjectError`."""
    try:
        from dsvd_registry import Registry
        from dsvd_registry.errors import DsvdError
    except ImportError as error:
        raise SubjectError(
            f"{SERVER} is not set, and there is no local registry: {error}. Set {SERVER} to the URL"
            " of `dsvd serve`, or install dsvd-registry in ComfyUI's Python."
        ) from error
    try:
        with Registry.open() as registry:
            yield registry
    except DsvdError as error:
        raise SubjectError(f"{error}. {error.hint}".strip()) from error


def _progress(advance: Advance) -> Progress:
    return lambda _stage, done, total: advance(done, total)


def _mounted(ref: str, ending: str) -> Path | None:
    """A file of a version in the mount that DSVD_MOUNT names."""
    mount = os.environ.get(MOUNT)
    path = Path(mount) / "checkpoints" / f"{ref}{ending}" if mount else None
    return path if path is not None and path.is_file() else None
