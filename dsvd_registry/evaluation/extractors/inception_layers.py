"""The layers of FID's Inception v3: the TensorFlow graph of 2015, in the names of pytorch-fid.

It differs from torchvision's network: in the blocks from `Mixed_5b` to `Mixed_7b` an average leaves out
what is padding, and `Mixed_7c` takes the largest value instead of an average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NORMALISATION = ("running_mean", "running_var", "weight", "bias")
CLASSES = 1008  # those of the graph of 2015; torchvision's other network has 1,000

Pool = Literal["average", "largest", "halve"]


@dataclass(frozen=True)
class Conv:
    """A convolution with its normalisation: its name, its channels, the kernel's height and width."""

    name: str
    channels: int
    height: int = 1
    width: int = 1
    stride: int = 1
    padding: Literal["same", "valid"] = "same"


Branch = tuple[Conv | Pool, ...]
Block = tuple[str, tuple[Branch, ...]]
"""The prefix of a block's names, and its branches, whose ends are put side by side."""


def _pooled(channels: int, pool: Pool = "average") -> Branch:
    return pool, Conv("branch_pool", channels)


def _double(last: Conv) -> Branch:
    return Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, 3, 3), last


def _a(name: str, pooled: int) -> Block:
    five = Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, 5, 5)
    double = _double(Conv("branch3x3dbl_3", 96, 3, 3))
    return name, ((Conv("branch1x1", 64),), five, double, _pooled(pooled))


def _b(name: str) -> Block:
    double = _double(Conv("branch3x3dbl_3", 96, 3, 3, 2, "valid"))
    return name, ((Conv("branch3x3", 384, 3, 3, 2, "valid"),), double, ("halve",))


def _c(name: str, inner: int) -> Block:
    seven = (
        Conv("branch7x7_1", inner),
        Conv("branch7x7_2", inner, 1, 7),
        Conv("branch7x7_3", 192, 7, 1),
    )
    double = (
        Conv("branch7x7dbl_1", inner),
        Conv("branch7x7dbl_2", inner, 7, 1),
        Conv("branch7x7dbl_3", inner, 1, 7),
        Conv("branch7x7dbl_4", inner, 7, 1),
        Conv("branch7x7dbl_5", 192, 1, 7),
    )
    return name, ((Conv("branch1x1", 192),), seven, double, _pooled(192))


def _d(name: str) -> Block:
    three = Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, 3, 3, 2, "valid")
    seven = (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, 1, 7),
        Conv("branch7x7x3_3", 192, 7, 1),
        Conv("branch7x7x3_4", 192, 3, 3, 2, "valid"),
    )
    return name, (three, seven, ("halve",))


def _e(name: str, pool: Pool) -> Block:
    three = (Conv("branch3x3_1", 384),)
    double = Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, 3, 3)
    branches = (
        (Conv("branch1x1", 320),),
        (*three, Conv("branch3x3_2a", 384, 1, 3)),
        (*three, Conv("branch3x3_2b", 384, 3, 1)),
        (*double, Conv("branch3x3dbl_3a", 384, 1, 3)),
        (*double, Conv("branch3x3dbl_3b", 384, 3, 1)),
        _pooled(192, pool),
    )
    return name, branches


FIRST = "Conv2d_1a_3x3.conv.weight"
STEM: Branch = (
    Conv("Conv2d_1a_3x3", 32, 3, 3, 2, "valid"),
    Conv("Conv2d_2a_3x3", 32, 3, 3, padding="valid"),
    Conv("Conv2d_2b_3x3", 64, 3, 3),
    "halve",
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, 3, 3, padding="valid"),
    "halve",
)
BLOCKS: tuple[Block, ...] = (
    ("", (STEM,)),
    *(_a(f"Mixed_5{one}.", pooled) for one, pooled in (("b", 32), ("c", 64), ("d", 64))),
    _b("Mixed_6a."),
    *(_c(f"Mixed_6{one}.", inner) for one, inner in zip("bcde", (128, 160, 160, 192), strict=True)),
    _d("Mixed_7a."),
    _e("Mixed_7b.", "average"),
    _e("Mixed_7c.", "largest"),
)


def shapes() -> dict[str, tuple[int, ...]]:
    """The shape of each tensor that the state dict must have, by name."""
    found: dict[str, tuple[int, ...]] = {"fc.weight": (CLASSES, 2048)}
    channels = 3
    for prefix, branches in BLOCKS:
        ends = []
        for branch in branches:
            inner = channels
            for step in branch:
                if isinstance(step, Conv):
                    name = prefix + step.name
                    found[f"{name}.conv.weight"] = (step.channels, inner, step.height, step.width)
                    found |= {f"{name}.bn.{part}": (step.channels,) for part in NORMALISATION}
                    inner = step.channels
            ends.append(inner)
        channels = sum(ends)
    return found
