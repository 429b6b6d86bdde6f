"""A source of subjects, as the nodes see it, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SERVER = "DSVD_SERVER"
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp")

Advance = Callable[[int, int], None]
"""Called with the bytes that are done, and those in all."""


class SubjectError(Exception):
    """A request that failed: what was wrong, and what to do next."""


@dataclass(frozen=True)
class Version:
    """A version: its ref with its number, such as `subject-42@3`, and the SHA-256 of its container."""

    ref: str
    container: str


@dataclass(frozen=True)
class Picture:
    """The bytes of a picture, and their media type."""

    content: bytes
    media_type: str


class Source(Protocol):
    """Subjects, and their files. Each method raises `SubjectError`."""

    def names(self) -> list[str]:
        """The names of all models, sorted."""
        ...

    def version(self, ref: str) -> Version:
        """The version that a ref means now."""
        ...

    def checkpoint(self, ref: str, tau: float | None, advance: Advance) -> Path:
        """A file with the full checkpoint; None is the tau that the version was added with."""
        ...

    def adapter(self, ref: str, advance: Advance) -> Path:
        """A file with the delta, in the names of ComfyUI and in fp32, so that nothing is rounded."""
        ...

    def preview(self, ref: str) -> Picture:
        """The preview picture. Raises `SubjectError` also if there is none."""
        ...


def ref_of(subject: str, version: str) -> str:
    """The ref of a model's version; an empty `version` means the newest one."""
    version = version.strip().removeprefix("@")
    return f"{subject}@{version}" if version else subject
