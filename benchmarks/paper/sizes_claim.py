"""Sizes: which units the paper's ratio mixes, and what is left of it in one unit."""

from __future__ import annotations

import math

from dsvd_registry.checkpoint.layer_groups import layer_group

from ..subjects.spectra import TABLE_2, TAUS
from ..subjects.unets import SD15
from .published import FULL_MB, INT8_MB, LORA_MB, LORA_RANK, STORED_MB
from .text_table import table

MIB = 2**20


def sizes_claim() -> str:
    """The arithmetic of sizes as Markdown; it needs no weights, only the shapes of SD 1.5."""
    shapes = SD15.shapes()
    parameters = sum(math.prod(shape) for shape in shapes.values())
    rows = [
        [
            f"{tau:g}",
            f"{STORED_MB[tau]:g}",
            f"{FULL_MB / STORED_MB[tau]:.1f}x",
            f"{FULL_MB / 2 / STORED_MB[tau]:.1f}x",
            f"{parameters / factor_parameters(tau):.1f}x",
        ]
        for tau in sorted(STORED_MB, reverse=True)
    ]
    attention = lora_parameters(LORA_RANK)
    return (
        f"SD 1.5's U-Net has {parameters:,} parameters: {4 * parameters / 1e6:,.1f} MB or "
        f"{4 * parameters / MIB:,.1f} MiB in fp32, {2 * parameters / 1e6:,.1f} MB in fp16. "
        f"The paper's {FULL_MB:,} is {FULL_MB / 1024:g} GiB in MiB, in fp32; its factors are fp16. "
        f"Its 8-bit model has {INT8_MB:,}, {INT8_MB / FULL_MB:.2f} of that, which is the size of "
        f"16-bit weights; 8-bit ones take {parameters / 1e6:,.1f} MB.\n\n"
        + table(
            ["tau", "the paper's MB", "over fp32", "over fp16", "by parameters (table 2's ranks)"],
            rows,
        )
        + f"\nThe paper's LoRA of rank {LORA_RANK} has {LORA_MB:g} MB; on the attention projections "
        f"of this U-Net that rank is {attention:,} parameters, {2 * attention / MIB:,.1f} MiB in "
        f"fp16. It stands between tau 0.2 ({STORED_MB[0.2]:g} MB) and tau 0.06 "
        f"({STORED_MB[0.06]:g} MB): no tau of the paper has its size.\n"
    )


def factor_parameters(tau: float) -> float:
    """The numbers in the factors of SD 1.5's U-Net at the average ranks of table 2.

    Each matrix has its group's average share of its own full rank; vectors are left out, as the paper
    does, and so are the groups that table 2 leaves out.
    """
    total = 0.0
    for name, shape in SD15.shapes().items():
        group = layer_group(name)
        if len(shape) < 2 or group not in TABLE_2:
            continue
        rows, columns = shape[0], math.prod(shape[1:])
        full, ranks = TABLE_2[group]
        share = ranks[TAUS.index(tau)] / full
        total += share * min(rows, columns) * (rows + columns)
    return total


def lora_parameters(rank: int) -> int:
    """The parameters of a LoRA on the query, key, value and output projections of SD 1.5's U-Net."""
    ends = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    return sum(
        rank * (shape[0] + shape[1]) for name, shape in SD15.shapes().items() if name.endswith(ends)
    )
