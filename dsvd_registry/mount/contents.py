"""Files of a mount: where their bytes come from, their sizes before any byte is made, and readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..catalog import VersionRecord
from ..errors import DsvdError, NotFound
from ..registry import Registry

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype


class Reader(Protocol):
    """An open file. Any thread may read it."""

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer at the end. Raises `DsvdError`, and gives no wrong byte."""
        ...

    def close(self) -> None:
        """Release what the reader holds."""
        ...


@dataclass(frozen=True)
class Content:
    """A file of a version, whose bytes never change.

    `made_from`: the ref of the version and the digests of its objects. `path`: in the full checkpoint.
    `is_whole`: it is the only file of a full checkpoint that is no folder.
    """

    made_from: tuple[str, ...]
    path: str
    size: int
    sha256: str | None
    is_whole: bool

    @property
    def ref(self) -> str:
        """The ref of the version."""
        return self.made_from[0]


class Changed(NotFound):
    """A version that was removed, or that gives other bytes than when it was listed."""


class Contents:
    """The contents of a registry's versions, at one tau and in one dtype."""

    def __init__(
        self,
        registry: Registry,
        tau: float | None,
        dtype: FloatDtype | None,
        log: Callable[[str], None],
    ) -> None:
        self._registry, self._tau, self._dtype, self._log = registry, tau, dtype, log
        self._listed: dict[tuple[str, ...], tuple[Content, ...]] = {}

    def results_of(
        self, versions: Iterable[VersionRecord]
    ) -> Iterator[tuple[VersionRecord, tuple[Content, ...]]]:
        """The files of the full checkpoint of each version.

        A version that cannot be listed, because it is damaged or does not have the tau, is left out,
        and the log says so.
        """
        listed: dict[tuple[str, ...], tuple[Content, ...]] = {}
        for version in versions:
            made_from = _made_from(version)
            try:
                listed[made_from] = self._listed.get(made_from) or self._list(version)
            except DsvdError as error:
                self._log(f"{version.ref} is left out: {error}")
            else:
                yield version, listed[made_from]
        self._listed = listed

    def open(self, content: Content) -> Reader:
        """Open a file. Raises `Changed`, and `DsvdError` for damage."""
        try:
            version = self._registry.version(content.ref)
        except NotFound as error:
            raise Changed(str(error)) from error
        result = self._registry.open_result(
            content.ref, content.path, tau=self._tau, dtype=self._dtype
        )
        now = (_made_from(version), result.size, result.sha256)
        if now != (content.made_from, content.size, content.sha256):
            result.close()
            raise Changed(f"{content.ref} gives other bytes than before")
        return result

    def _list(self, version: VersionRecord) -> tuple[Content, ...]:
        files = self._registry.result_files(version.ref, tau=self._tau, dtype=self._dtype)
        whole = version.source.format != "diffusers" and len(files) == 1
        made_from = _made_from(version)
        return tuple(Content(made_from, file.path, file.size, file.sha256, whole) for file in files)


def _made_from(version: VersionRecord) -> tuple[str, ...]:
    return version.ref, *sorted(version.objects)
