"""A pair in another dtype: both files are rounded, tensor by tensor."""

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
    """Write the tensors of `kinds` in their order, floating-point ones in `dtype`."""
    rounded_kinds = {
        name: (dtype if own.is_floating_point else own, shape)
        for name, (own, shape) in kinds.items()
    }
    with StreamedSafetensors(path, rounded_kinds) as file:
        for name, (result, _) in rounded_kinds.items():
            file.write(name, read(name).to(result))


def rounded(subject: Subject, dtype: torch.dtype, folder: Path) -> Subject:
    """The same subject in `dtype`, as two files in `folder`."""
    base, tuned = folder / "base.safetensors", folder / "tuned.safetensors"
    with subject.open() as pair:
        write_rounded(pair.kinds, pair.base, dtype, base)
        write_rounded(pair.kinds, pair.tuned, dtype, tuned)
    return Subject(subject.title, base, tuned, subject.svd, subject.aims, subject.trained)
