"""Claims of the paper's figures, checked by arithmetic, shapes and photographs; nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

from demo.pictures import Photographed

from .measures_claim import fid_claim, ssim_claim
from .ranks_claim import ranks_claim
from .sizes_claim import sizes_claim


def claims(subjects: Sequence[Photographed]) -> str:
    """Every claim as Markdown; the measures are taken on photographs of these subjects."""
    count = sum(len(one.photographs) for one in subjects)
    return "\n".join(
        (
            "## Sizes\n",
            sizes_claim(),
            "## Ranks\n",
            ranks_claim(),
            f"## Measures, on {count} photographs of {len(subjects)} subjects\n",
            ssim_claim(subjects),
            fid_claim(subjects),
        )
    )
