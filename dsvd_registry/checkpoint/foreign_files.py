"""Files that lie where checkpoints do and are none: known by how they begin, and named in the error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError


@dataclass(frozen=True)
class _Kind:
    """A kind of file: how it begins, completing "FILE is ..." what it is, and what to do instead."""

    begins: re.Pattern[bytes]
    what: str
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
        "Run `git xet checkout` in that repository, or download the file from where it is kept.",
    ),
    _Kind(
        re.compile(rb"GGUF"),
        "a GGUF file, whose weights are quantised in blocks",
        "Take the model in safetensors, which it was made from: of quantised weights there is no delta.",
    ),
    _Kind(
        re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
        "a web page, not the file that was to be downloaded",
        "Download it again; the page may say why, such as that one must log in.",
    ),
    _Kind(
        re.compile(rb".{257}ustar", re.DOTALL),
        "a tar archive, as torch wrote them before 0.1.10",
        "Load it with torch and save it again.",
    ),
)


def refuse(path: Path, head: bytes) -> CheckpointError:
    """The error for a file that begins with `head`, which is no checkpoint's beginning."""
    for kind in _KINDS:
        if kind.begins.match(head):
            return CheckpointError(f"{path} is {kind.what}", kind.hint)
    return CheckpointError(f"{path} is not a checkpoint: expected safetensors or a torch pickle")
