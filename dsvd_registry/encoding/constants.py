"""Detection of constants, which are stored to the bit and counted in no error.

Checkpoints contain position ids, noise schedules, running statistics and scales among their
weights. These are often far larger than any change of a weight, and a small error can change their
meaning, so they are never approximated. The rule that finds them is in this module; the spec
recommends it ("Constants").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from ..checkpoint.tensor_info import BITS

# Patterns of the last part of a name.
_CONSTANT_NAMES = (
    # positions and masks
    *("position_ids", "token_type_ids", "relative_position_index", "relative_coords_table"),
    *("inv_freq", "freqs", "freqs_cis", "attn_mask", "causal_mask", "masked_bias"),
    # noise schedules, as ldm, k-diffusion and diffusers name them
    *("betas", "alphas", "alphas_cumprod*", "sqrt_alphas*", "sqrt_one_minus_*", "sqrt_recip*"),
    *("log_one_minus_*", "posterior_*", "sigmas", "log_sigmas", "timesteps", "lvlb_weights"),
    *("ddim_alphas*", "ddim_sigmas*", "ddim_sqrt_*", "scale_factor", "shift_factor", "logvar"),
    # statistics of the training data
    *("running_mean", "running_var", "num_batches_tracked", "latents_mean", "latents_std"),
    *("image_mean", "image_std", "mean", "std", "cluster_size", "embed_avg"),
    # scales of quantised weights and of similarities
    *("scale_weight", "weight_scale*", "scale_input", "input_scale*", "output_scale", "scales"),
    *("absmax", "nested_absmax", "quant_map", "nested_quant_map", "scb", "scaled_fp8"),
    *("zero_point", "zero_points", "qzeros", "logit_scale", "logit_bias"),
    # counters of moving averages
    *("num_updates", "decay"),
)
# Parts of a name that mark everything under them as statistics.
_CONSTANT_GROUPS = ("per_channel_statistics",)


def is_constant_name(name: str) -> bool:
    """True if a tensor of this name is a constant, in any model and any folder."""
    parts = re.split(r"[./]", name.lower())
    last = parts[-1]
    return any(fnmatchcase(last, pattern) for pattern in _CONSTANT_NAMES) or any(
        part in _CONSTANT_GROUPS for part in parts
    )


STEPS = 12  # rises or falls that make a sequence; random numbers have as many once in 10^9
SMALL = 64  # elements of the largest tensor that is judged by the size of its change
UNLIKE_WEIGHTS = 0.5  # share of the base's norm: fine-tunes seldom change weights by so much
FROM_ZERO = 1.0  # root mean square of such a change, where the base is zero
BLOCK = 1 << 16
# Below these limits a dtype has steps of 1/2 or finer, so that integers are no coincidence.
LEAST_OF_INTEGERS = {"F32": 2.0**23, "F16": 2.0**10, "BF16": 2.0**7}


@dataclass(frozen=True)
class Values:
    """The elements of a tensor of one of `DELTA_DTYPES`, as the bytes of a file."""

    data: memoryview
    dtype: str

    @property
    def count(self) -> int:
        return len(self.data) // (BITS[self.dtype] // 8)

    def blocks(self) -> Iterator[Numbers]:
        """The elements as float32, in blocks; the first block is small, as it rules out most weights."""
        data, width = self.data, BITS[self.dtype] // 8
        first, size = 0, 2 * STEPS
        while first < self.count:
            yield numbers(data[first * width : (first + size) * width], self.dtype)
            first, size = first + size, BLOCK


def is_constant(names: Iterable[str], base: Values, source: Values) -> bool:
    """True if a tensor is a constant: by any of its `names`, or by its values on either side.

    Both sides have one shape. The answer does not matter for a tensor without changes.
    """
    return (
        is_constant_in_base(names, base)
        or is_sequence(source)
        or are_integers(source)
        or (source.count <= SMALL and _is_unlike_weights(base, source))
    )


def is_constant_in_base(names: Iterable[str], base: Values) -> bool:
    """True if a tensor is a constant, judged by its names and its values in the base alone."""
    return (
        any(map(is_constant_name, names))
        or is_sequence(base)
        or are_integers(base, beyond_units=True)
    )


def is_sequence(values: Values) -> bool:
    """True if the elements never fall, or never rise, and change at `STEPS` places or more."""
    ups = downs = 0
    last = np.empty(0, np.float32)
    for block in values.blocks():
        if not np.isfinite(block).all():
            return False
        joined = np.concatenate([last, block])
        ups += int((joined[1:] > joined[:-1]).sum())
        downs += int((joined[1:] < joined[:-1]).sum())
        if ups and downs:
            return False
        last = block[-1:]
    return ups + downs >= STEPS


def are_integers(values: Values, *, beyond_units: bool = False) -> bool:
    """True if all elements are integers and not all equal, in a range where the dtype has fractions.

    `beyond_units`: require also that some are not 0, 1 or -1, as untrained weights often are.
    """
    least, largest = math.inf, -math.inf
    for block in values.blocks():
        with np.errstate(invalid="ignore"):
            if not (np.isfinite(block).all() and (block == np.rint(block)).all()):
                return False
        least, largest = min(least, float(block.min())), max(largest, float(block.max()))
    greatest = max(-least, largest)
    is_chosen = least < largest and greatest < LEAST_OF_INTEGERS[values.dtype]
    return is_chosen and (greatest > 1 or not beyond_units)


def _is_unlike_weights(base: Values, source: Values) -> bool:
    sides = [np.concatenate([np.empty(0, np.float32), *side.blocks()]) for side in (base, source)]
    if not all(np.isfinite(side).all() for side in sides):
        return False
    before, after = (side.astype(np.float64) for side in sides)
    change, norm = np.linalg.norm(after - before), np.linalg.norm(before)
    if norm:
        return bool(change > UNLIKE_WEIGHTS * norm)
    return bool(change > FROM_ZERO * math.sqrt(max(1, source.count)))


Numbers = npt.NDArray[np.float32]


def numbers(data: memoryview, dtype: str) -> Numbers:
    """Convert little-endian elements of one of `DELTA_DTYPES` to float32, which is exact for all."""
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)
    return np.frombuffer(data, "<f4" if dtype == "F32" else "<f2").astype(np.float32)
