"""Files of a mount: where their bytes come from, their sizes before any byte is made, and readers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..catalog import AttachmentRecord, VersionRecord
from ..errors import NotFound
from ..registry import Registry
from ..registry.describing.attachments import open_attachment
from ..registry.describing.beside import given_beside
from .loras import LoraFile, Loras

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype
    from ..registry.results.result_pool import ResultEntry


class Reader(Protocol):
    """An open file. Any thread may read it."""

    def view_at(self, offset: int, size: int) -> memoryview:
        """The bytes from `offset` on, fewer at the end. Raises `DsvdError`, and gives no wrong byte."""
        ...

    def close(self) -> None:
        """Release what the reader holds."""
        ...


@dataclass(frozen=True)
class Content:
    """A file of a version, whose bytes never change.

    `made_from`: the ref of the version and the digests of its objects. `path`: in the full checkpoint.
    `sha256`: None where none is recorded. `is_whole`: it is the only file of a full checkpoint that is
    no folder. `lora`: the version as a LoRA file, of which `path` is only the ending. `attachment`: one
    that tools look for beside a checkpoint, and `path` is what follows the checkpoint's stem.
    """

    made_from: tuple[str, ...]
    path: str
    size: int
    sha256: str | None
    is_whole: bool
    lora: LoraFile | None = None
    attachment: AttachmentRecord | None = None

    def __str__(self) -> str:
        return f"{self.ref} as a LoRA" if self.lora is not None else f"{self.ref} {self.path}"

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
        loras: Loras,
        log: Callable[[str], None],
    ) -> None:
        self._loras = loras
        self._registry, self._tau, self._dtype, self._log = registry, tau, dtype, log
        self._listed: dict[tuple[str, ...], tuple[Content, ...]] = {}

    def results_of(
        self, versions: Sequence[VersionRecord]
    ) -> Iterator[tuple[VersionRecord, tuple[Content, ...]]]:
        """The files of the full checkpoint of each version.

        A version that cannot be listed, because it is damaged or does not have the tau, is left out,
        and the log says so.
        """
        keys = {version.ref: _made_from(version) for version in versions}
        new = [version for version in versions if keys[version.ref] not in self._listed]
        found = self._registry.result_listings(new, tau=self._tau, dtype=self._dtype)
        for version in new:
            if version.ref in found.files:
                self._listed[keys[version.ref]] = _contents(version, found.files[version.ref])
            else:
                self._log(f"{version.ref} is left out: {found.failures[version.ref]}")
        self._listed = {key: self._listed[key] for key in keys.values() if key in self._listed}
        for version in versions:
            if keys[version.ref] in self._listed:
                yield version, self._listed[keys[version.ref]]

    def loras_of(self, versions: Sequence[VersionRecord]) -> dict[str, Content]:
        """The LoRA file of each version that has one, by ref."""
        made_from = {version.ref: _made_from(version) for version in versions}
        return {
            ref: Content(made_from[ref], file.ending, file.size, file.original, True, file)
            for ref, file in self._loras.of_versions(versions, self._log).items()
        }

    def beside(self) -> dict[str, tuple[Content, ...]]:
        """The previews and sidecars of all versions, by ref."""
        of_version: dict[str, list[AttachmentRecord]] = defaultdict(list)
        for record in self._registry.repository.catalog.attachments():
            of_version[f"{record.model}@{record.number}"].append(record)
        return {
            ref: tuple(
                Content((ref, one.sha256), ending, one.size, one.sha256, False, attachment=one)
                for ending, one in given_beside(records).items()
            )
            for ref, records in of_version.items()
        }

    def open(self, content: Content) -> Reader:
        """Open a file. Raises `Changed`, and `DsvdError` for damage."""
        if content.attachment is not None:
            with open_attachment(content.attachment, self._registry.repository) as file:
                return _Bytes(file.read())
        try:
            version = self._registry.version(content.ref)
        except NotFound as error:
            raise Changed(str(error)) from error
        if content.lora is not None:
            if _made_from(version) != content.made_from:
                raise Changed(f"{content.ref} gives other bytes than before")
            return self._loras.open(version, content.lora)
        result = self._registry.open_result(
            content.ref, content.path, tau=self._tau, dtype=self._dtype
        )
        now = (_made_from(version), result.size, result.sha256)
        if now != (content.made_from, content.size, content.sha256):
            result.close()
            raise Changed(f"{content.ref} gives other bytes than before")
        return result


class _Bytes:
    """A small file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def view_at(self, offset: int, size: int) -> memoryview:
        return self._data[offset : offset + size]

    def close(self) -> None:
        pass


def _contents(version: VersionRecord, files: tuple[ResultEntry, ...]) -> tuple[Content, ...]:
    whole = version.source.format != "diffusers" and len(files) == 1
    made_from = _made_from(version)
    return tuple(Content(made_from, file.path, file.size, file.sha256, whole) for file in files)


def _made_from(version: VersionRecord) -> tuple[str, ...]:
    """The ref of a version, and the digests of what its files are made from."""
    return version.ref, *sorted(version.objects)
