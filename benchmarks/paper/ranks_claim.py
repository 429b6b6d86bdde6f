"""Ranks: what table 2 says of layer groups once the size of their matrices is taken out."""

from __future__ import annotations

import math

from dsvd_registry.checkpoint.layer_groups import layer_group

from ..subjects.spectra import TABLE_2, TAUS
from ..subjects.unets import SD15
from .text_table import table


def ranks_claim() -> str:
    """Table 2 as the paper has it and relative to full rank, as Markdown."""
    rows = []
    for group, (full, ranks) in TABLE_2.items():
        shown = [
            f"{rank} ({rank / full:.1%})" for _, rank in sorted(zip(TAUS, ranks, strict=True))[::-1]
        ]
        rows.append([group, f"{full}", f"{mean_full_rank(group):.0f}", *shown])
    titles = ["layers", "full rank", "by the shapes", *(f"tau {tau:g}" for tau in TAUS[::-1])]
    left_out = [name for name in matrices() if layer_group(name) not in TABLE_2]
    return (
        table(titles, rows)
        + f"\nTable 2 leaves out {len(left_out)} matrices: {', '.join(left_out)}.\n"
    )


def matrices() -> dict[str, tuple[int, int]]:
    """The matrices of SD 1.5's U-Net as (outputs, inputs times places of the kernel), by name."""
    return {
        name: (shape[0], math.prod(shape[1:]))
        for name, shape in SD15.shapes().items()
        if len(shape) > 1
    }


def mean_full_rank(group: str) -> float:
    """The mean full rank of a group's matrices."""
    ranks = [min(shape) for name, shape in matrices().items() if layer_group(name) == group]
    return sum(ranks) / len(ranks)
