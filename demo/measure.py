"""Measurements of the results at each tau: bytes, the error of the delta, and pictures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file

from dsvd_registry.evaluation.image_similarity import ssim

from .checkpoints import BASE, FULL, SUBJECT, load_model
from .commands import DemoError, Dsvd
from .pictures import load_subjects
from .sheet import Pictures, Row, write_sheet
from .small_pipeline import Shape, paint
from .training import RARE_WORD, class_prompt, subject_prompt

TAUS = ("0.8", "0.5", "0.2", "0.06")
LOSSLESS = "subject-42-lossless"
LOSSLESS_FILE = "lossless.safetensors"
PROMPTS = (
    *((subject_prompt("dog"), seed) for seed in range(4)),
    (class_prompt("dog"), 4),
    (class_prompt("vase"), 5),
)
NAMES_SUBJECT = np.array([RARE_WORD in prompt.split() for prompt, _ in PROMPTS])


@dataclass(frozen=True)
class Result:
    """One line of the table. `prefix_error` is that of the same tau served by the 0.8 container.

    `ssim` is taken over the prompts that name the subject, `ssim_others` over those that do not: against
    the fine-tune's own picture of the prompt and seed, as `dsvd evaluate` has it.
    """

    label: str
    size: int
    ratio: float | None
    delta_error: float
    prefix_error: float | None
    ssim: float
    ssim_others: float
    pictures: Pictures

    def figures(self) -> dict[str, str | int | float | None]:
        """The figures without the pictures."""
        return {
            "model": self.label,
            "bytes": self.size,
            "ratio": self.ratio,
            "delta_error": self.delta_error,
            "prefix_delta_error": self.prefix_error,
            "ssim": self.ssim,
            "ssim_others": self.ssim_others,
        }


def name_at(tau: str) -> str:
    """The model's name in the registry, stored at `tau`."""
    return "subject-42" if tau == TAUS[0] else f"subject-42-tau-{tau}"


def file_at(tau: str) -> str:
    """The file materialised from the container that is stored at `tau`."""
    return f"tau-{tau}.safetensors"


def prefix_file_at(tau: str) -> str:
    """The file materialised at `tau` from the container that is stored at the highest one."""
    return f"prefix-{tau}.safetensors"


def measure(folder: Path, shape: Shape, dsvd: Dsvd) -> list[Result]:
    """Measure the full fine-tune, its lossless version, each tau, and the base as the yardstick.

    Raises `DemoError` if the file of the lossless version is not the fine-tune's to the byte.
    """
    full, again = folder / FULL, folder / LOSSLESS_FILE
    if _sha256(again) != _sha256(full):
        raise DemoError(f"{again} is not {full}, which was added with --lossless")
    wanted = _paint(full, shape)

    def result(label: str, path: Path, size: int, prefix: Path | None = None) -> Result:
        pictures = wanted if path in (full, again) else _paint(path, shape)
        return Result(
            label=label,
            size=size,
            ratio=full.stat().st_size / size if size else None,
            delta_error=delta_error(path, folder),
            prefix_error=delta_error(prefix, folder) if prefix else None,
            ssim=_ssim(wanted, pictures, NAMES_SUBJECT),
            ssim_others=_ssim(wanted, pictures, ~NAMES_SUBJECT),
            pictures=pictures,
        )

    results = [
        result("full fine-tune", full, full.stat().st_size),
        result("lossless, the same SHA-256", again, dsvd.stored_size(LOSSLESS)),
    ]
    for tau in TAUS:
        prefix = None if tau == TAUS[0] else folder / prefix_file_at(tau)
        size = dsvd.stored_size(name_at(tau))
        results.append(result(f"tau {tau}", folder / file_at(tau), size, prefix))
    results.append(result("base, no delta", folder / BASE, 0))
    return results


def delta_error(path: Path, folder: Path) -> float:
    """The Frobenius norm of (file - fine-tune) over that of the fine-tune's delta."""
    got, full, base = (load_file(file) for file in (path, folder / FULL, folder / BASE))
    if got.keys() != full.keys():
        raise ValueError(f"{path} does not hold the tensors of {FULL}")
    lost = sum((got[name].double() - full[name].double()).square().sum().item() for name in full)
    whole = sum((full[name].double() - base[name].double()).square().sum().item() for name in full)
    return math.sqrt(lost / whole)


def markdown(results: Sequence[Result]) -> str:
    """The table as Markdown."""
    lines = [
        "| model | bytes | smaller | error of the delta | the same, read from tau 0.8 "
        "| SSIM, subject | SSIM, other prompts |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        ratio = f"{result.ratio:.1f}x" if result.ratio else "-"
        prefix = f"{result.prefix_error:.4f}" if result.prefix_error is not None else "-"
        lines.append(
            f"| {result.label} | {result.size:,} | {ratio} | {result.delta_error:.4f} "
            f"| {prefix} | {result.ssim:.3f} | {result.ssim_others:.3f} |"
        )
    return "\n".join(lines) + "\n"


def write_contact_sheet(folder: Path, results: Sequence[Result]) -> Path:
    """Write photographs of the subject and the pictures of every model, the base first.

    The lossless version has the fine-tune's pictures.
    """
    path = folder / "contact-sheet.png"
    (subject,) = (one for one in load_subjects() if one.name == SUBJECT)
    full, _, *tuned, base = results
    rows = [Row("photographs", "of the subject", subject.photographs[: NAMES_SUBJECT.sum()])]
    rows += [
        Row(
            result.label,
            f"{result.size / 1000:,.0f} kB, SSIM {result.ssim:.3f}"
            if result.size
            else f"SSIM {result.ssim:.3f}",
            list(result.pictures),
        )
        for result in (base, full, *tuned)
    ]
    write_sheet(path, [f"{prompt}|seed {seed}" for prompt, seed in PROMPTS], rows)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _paint(path: Path, shape: Shape) -> Pictures:
    prompts, seeds = zip(*PROMPTS, strict=True)
    return paint(load_model(path, shape), prompts, seeds)


def _ssim(wanted: Pictures, got: Pictures, chosen: npt.NDArray[np.bool_]) -> float:
    """The mean structural similarity over the chosen pictures."""
    pairs = zip(wanted[chosen], got[chosen], strict=True)
    return float(np.mean([ssim(own, other) for own, other in pairs]))
