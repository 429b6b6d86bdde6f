"""The options of an export, and the report of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Format = Literal["kohya", "peft", "comfyui"]
FORMATS: tuple[Format, ...] = get_args(Format)
Dtype = Literal["fp16", "fp32"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


@dataclass(frozen=True)
class LoraForm:
    """The options for a LoRA of a version.

    `format`: None for the one that most loaders of the family read. `rank_limit`: the largest rank of
    a module, and with PEFT's format that of every module; None for the stored ranks.
    """

    format: Format | None = None
    rank_limit: int | None = None
    dtype: Dtype = "fp16"


@dataclass(frozen=True)
class Module:
    """A low-rank pair in the file.

    `name`: its key in the file. `rank`: of the pair. `stored_rank`: of the delta in the version.
    `alpha`: a loader adds `alpha` / `rank` times the product. `error`: the relative Frobenius error
    of the module's delta; 0 for an empty pair, which only a loader needs.
    """

    name: str
    rank: int
    stored_rank: int
    alpha: float
    error: float


@dataclass(frozen=True)
class LeftOut:
    """A tensor of the version whose change is not in the file, and the reason.

    `error`: the norm of its delta over that of the version's whole delta, which is the error of
    leaving out this tensor alone; None if it has no delta, for example because the base lacks it.
    """

    name: str
    reason: str
    error: float | None


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written, its size in bytes and its SHA-256."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class ExportedLora:
    """A LoRA that was written, as a file or as a folder for PEFT.

    `size`: in bytes, of all `files`. `sha256`: of the file; None for a folder. `modules`: its low-rank
    pairs. `differences`: the keys of whole deltas (ComfyUI's `.diff` and `.diff_b`). `left_out`: the
    changes that are not in the file.

    Errors are Frobenius norms over that of the version's whole delta: `error` is that of the file;
    `left_out_error`, `cut_error` and `rounding_error` are its parts from tensors left out, from cut
    ranks and from rounding.
    """

    path: Path
    format: Format
    family: str
    dtype: Dtype
    size: int
    sha256: str | None
    files: tuple[WrittenFile, ...]
    modules: tuple[Module, ...]
    differences: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    error: float
    left_out_error: float
    cut_error: float
    rounding_error: float

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank of each module."""
        return tuple(module.rank for module in self.modules)
