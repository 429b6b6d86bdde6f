"""What can be asked of an export, and what is told of one that was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Format = Literal["kohya", "peft", "comfyui"]
FORMATS: tuple[Format, ...] = get_args(Format)
Dtype = Literal["fp16", "fp32"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


@dataclass(frozen=True)
class Module:
    """A low-rank pair in the file. `name`: its key there; `stored_rank`: of the version.

    The loader adds `alpha` / `rank` times the product. `error`: relative Frobenius error of the
    module's delta, 0 for a pair that is there only because a loader wants it.
    """

    name: str
    rank: int
    stored_rank: int
    alpha: float
    error: float


@dataclass(frozen=True)
class LeftOut:
    """A tensor of the version whose change is not in the file, and why.

    `error`: the norm of its delta over that of the version's whole delta, which is what leaving it
    out alone costs; None where there is no delta, as of a tensor that the base lacks.
    """

    name: str
    reason: str
    error: float | None


@dataclass(frozen=True)
class ExportedLora:
    """A LoRA file that was written.

    `differences`: keys of what is in it as a whole delta (ComfyUI's `.diff` and `.diff_b`).
    Errors are Frobenius norms over that of the whole delta that the version holds: `error` of the
    file, and what of it is due to what was left out, to cut ranks and to rounding.
    """

    path: Path
    format: Format
    family: str
    dtype: Dtype
    size: int
    sha256: str
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
