"""Names of tensors that are not weights: ids, noise schedules, statistics, scales, counters."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

# Patterns of the last part of a name.
_NAMES = (
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
_GROUPS = ("per_channel_statistics",)


def is_constant_name(name: str) -> bool:
    """Whether a tensor of this name is a constant, in any model and any folder."""
    parts = re.split(r"[./]", name.lower())
    last = parts[-1]
    return any(fnmatchcase(last, pattern) for pattern in _NAMES) or any(
        part in _GROUPS for part in parts
    )
