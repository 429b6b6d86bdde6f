"""Measures of one picture against another of the same size, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""A picture: height x width x 3 values from 0 to 255."""

SMALLEST_SIDE = 11  # pixels of the window of SSIM


def ssim(picture: Picture, other: Picture) -> float:
    """The structural similarity of two pictures: 1 for the same picture.

    As Wang et al. (2004) have it: a Gaussian window of 1.5 pixels, the mean over the three channels.
    """
    from skimage.metrics import structural_similarity

    found: float = structural_similarity(
        picture,
        other,
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(found)


def mean_squared_error(picture: Picture, other: Picture) -> float:
    """The mean of the squared differences, of values between 0 and 1: 0 for the same picture."""
    difference = (picture.astype(np.float64) - other) / 255
    return float(np.mean(difference**2))


def psnr(mean_squared: float) -> float:
    """The peak signal-to-noise ratio of a mean squared error, in decibels; infinite for 0."""
    return math.inf if mean_squared == 0 else -10 * math.log10(mean_squared)
