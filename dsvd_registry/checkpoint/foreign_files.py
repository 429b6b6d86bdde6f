"""Files that are mistaken for checkpoints, recognised by their first bytes and named in the error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError


@dataclass(frozen=True)
class _Kind:
    """A kind of file: its first bytes, its name in the sentence "FILE is ...", and a hint."""

    begins: re.Pattern[bytes]
    description: str
    hint: str


_KINDS = (
    _Kind(
        re.compile(rb"version https://git-lfs"),
        "a Git LFS pointer, not the file that it stands for",
        "Run `git lfs pull` in that repository.",
    ),
    _Kind(
        re.compile(rb"# xet version "),
        "a Git Xet pointer, not the file that it stands for",
        "Run `git xet checkout` in that repository, or download the file itself.",
    ),
    _Kind(
        re.compile(rb"GGUF"),
        "a GGUF file, whose weights are quantised in blocks",
        "Use the safetensors model that it was made from: quantised weights have no delta.",
    ),
    _Kind(
        re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
        "a web page, not the file that was to be downloaded",
        "Download it again. The page may give the reason, for example that you must log in.",
    ),
    _Kind(
        re.compile(rb".{257}ustar", re.DOTALL),
        "a tar archive, as torch wrote them before 0.1.10",
        "Load it with torch and save it again.",
    ),
)


def refuse(path: Path, head: bytes) -> CheckpointError:
    """The error for a file that is no checkpoint, by its first bytes `head`."""
    for kind in _KINDS:
        if kind.begins.match(head):
            return CheckpointError(f"{path} is {kind.description}", kind.hint)
    return CheckpointError(f"{path} is not a checkpoint: expected safetensors or a torch pickle")
