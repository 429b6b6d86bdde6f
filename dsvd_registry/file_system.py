"""Files of versions for fsspec: `dsvd://subject-42@3/model.safetensors`.

fsspec finds the class by the entry point `fsspec.specs`, and everything that opens files by fsspec with
it: pandas, datasets, dask, torch.
"""

from __future__ import annotations

import contextlib
import errno
import io
import weakref
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem

from .errors import InvalidArgument, NotFound
from .registry.registry import Registry

if TYPE_CHECKING:
    from .reconstruction.cast import FloatDtype
    from .reconstruction.target_layout import LayoutName
    from .registry.results.open_result import OpenResult

BUFFER = 1 << 20


class DsvdFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The versions of a registry as read-only folders, each named by a ref.

    The root lists every version as `name@number`; `name` and `name@alias` are found as well.

    Args:
        registry: As in `Registry.open`.
        tau: As in `Registry.materialize`.
        dtype: As in `Registry.materialize`.
        layout: As in `Registry.materialize`.

    Raises:
        FileNotFoundError: There is no such version or file.

    Example:
        >>> with fsspec.open("dsvd://subject-42@1/model.safetensors") as file:
        ...     int.from_bytes(file.read(8), "little") > 0
        True
    """

    protocol = "dsvd"
    # Each instance has a registry open, which DSVD_REGISTRY and the current folder decide.
    cachable = False

    def __init__(
        self,
        registry: str | Path | None = None,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        **options: Any,
    ) -> None:
        super().__init__(registry, tau, dtype, layout, **options)
        self.registry = Registry.open(registry)
        self._form: dict[str, Any] = {"tau": tau, "dtype": dtype, "layout": layout}
        weakref.finalize(self, self.registry.close)

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        """List the versions, or the files and folders of a version."""
        path = self._strip_protocol(path)
        found = self._entries(path)
        if not found:
            raise FileNotFoundError(path)
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        """The type, size and SHA-256 of a file or folder; the last is None if it is not recorded."""
        path = self._strip_protocol(path)
        ref, _, inner = path.partition("/")
        if not ref:
            return _folder("")
        files = self._files(ref)
        if inner in files:
            return files[inner]
        if not inner or any(other.startswith(f"{inner}/") for other in files):
            return _folder(path)
        raise FileNotFoundError(path)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_options: Any
    ) -> bytes:
        """The bytes of a file, or of a part of it."""
        with self._result(path) as result:
            first, last, _ = slice(start, end).indices(result.size)
            return result.read_at(first, max(0, last - first))

    def created(self, path: str) -> datetime:
        """The time at which the version was added."""
        return self.registry.version(self._strip_protocol(path).partition("/")[0]).added

    modified = created

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> DsvdFile:
        if mode != "rb":
            raise OSError(errno.EROFS, "the files of a registry are read-only", path)
        return DsvdFile(self._result(path), self)

    def _result(self, path: str) -> OpenResult:
        ref, _, inner = self._strip_protocol(path).partition("/")
        with _not_found(path):
            return self.registry.open_result(ref, inner or None, **self._form)

    def _files(self, ref: str) -> dict[str, dict[str, Any]]:
        with _not_found(ref):
            entries = self.registry.result_files(ref, **self._form)
        return {
            entry.path: {
                "name": f"{ref}/{entry.path}",
                "size": entry.size,
                "type": "file",
                "sha256": entry.sha256,
            }
            for entry in entries
        }

    def _entries(self, path: str) -> list[dict[str, Any]]:
        """The versions, or what lies in a folder of a version, or the file itself; by name."""
        ref, _, inner = path.partition("/")
        if not ref:
            return [_folder(version.ref) for version in self.registry.versions()]
        files = self._files(ref)
        if inner in files:
            return [files[inner]]
        start, found = f"{inner}/" if inner else "", {}
        for other, entry in files.items():
            if other.startswith(start):
                first, slash, _ = other.removeprefix(start).partition("/")
                name = f"{ref}/{start}{first}"
                found[name] = _folder(name) if slash else entry
        return [found[name] for name in sorted(found)]


class DsvdFile(io.BufferedReader):
    """A file of a version, open for reading. It keeps its file system, and with it the registry."""

    def __init__(self, result: OpenResult, fs: DsvdFileSystem) -> None:
        super().__init__(result, BUFFER)
        self.fs, self.size = fs, result.size


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


@contextlib.contextmanager
def _not_found(path: str) -> Iterator[None]:
    """Raise `FileNotFoundError`, which callers of fsspec expect, for what does not exist.

    A name that breaks a rule is one that does not exist.
    """
    try:
        yield
    except (InvalidArgument, NotFound) as error:
        raise FileNotFoundError(errno.ENOENT, str(error), path) from error
