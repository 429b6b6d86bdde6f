"""A pair in another dtype: both sides rounded alike, written tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from .pair import Subject
from .streamed import Kind, StreamedSafetensors


def write_rounded(
    kinds: Mapping[str, Kind],
    read: Callable[[str], torch.Tensor],
    dtype: torch.dtype,
    path: Path,
) -> None:
    """The floating tensors of `kinds`, in their order, in `dtype`; the others as they are."""
    wanted = {
        name: (dtype if of.is_floating_point else of, shape) for name, (of, shape) in kinds.items()
    }
    with StreamedSafetensors(path, wanted) as file:
        for name, (of, _) in wanted.items():
            file.write(name, read(name).to(of))


def rounded(subject: Subject, dtype: torch.dtype, folder: Path) -> Subject:
    """The same subject in `dtype`, as two files in `folder`."""
    base, tuned = folder / "base.safetensors", folder / "tuned.safetensors"
    with subject.open() as pair:
        write_rounded(pair.kinds, pair.base, dtype, base)
        write_rounded(pair.kinds, pair.tuned, dtype, tuned)
    return Subject(subject.title, base, tuned, subject.svd, subject.aims, subject.trained)
