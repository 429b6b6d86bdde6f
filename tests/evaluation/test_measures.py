"""The measures, against torchmetrics and against formulas written out here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from dsvd_registry.evaluation.image_similarity import mean_squared_error, psnr, ssim
from dsvd_registry.evaluation.set_distances import fid, fid_floor, kid

from .photographs import photographs

PAIRS = list(itertools.islice(itertools.combinations(photographs()["dog6"], 2), 3))


def as_batch(picture) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].double() / 255


class Flat(torch.nn.Module):
    """In the place of Inception: the features are the pixels."""

    num_features = 12

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.reshape(len(pixels), -1).double()


def as_pixels(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rows).reshape(len(rows), 3, 2, 2)


@pytest.mark.parametrize("pair", PAIRS)
def test_pixels_as_torchmetrics_has_them(pair) -> None:
    left, right = map(as_batch, pair)
    _, places = structural_similarity_index_measure(
        left, right, data_range=1.0, return_full_image=True
    )
    # Wang et al. take no window that is not wholly in the picture; torchmetrics' mean takes them.
    theirs = places[..., 5:-5, 5:-5].mean().item()
    assert ssim(*pair) == pytest.approx(theirs, abs=1e-6)
    assert ssim(*pair) < 0.9
    found = psnr(mean_squared_error(*pair))
    assert found == pytest.approx(
        peak_signal_noise_ratio(left, right, data_range=1.0).item(), abs=1e-4
    )


def test_a_picture_against_itself() -> None:
    for pictures in photographs().values():
        for picture in pictures:
            assert ssim(picture, picture.copy()) == 1
            assert mean_squared_error(picture, picture.copy()) == 0
    assert psnr(0) == math.inf


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
@pytest.mark.parametrize("sizes", [(40, 30), (5, 7)], ids=["large sets", "fewer than features"])
def test_sets_as_torchmetrics_has_them(sizes: tuple[int, int]) -> None:
    draw = np.random.default_rng(3)
    left, right = (
        draw.random((size, 12)) ** power for size, power in zip(sizes, (1, 2), strict=True)
    )
    kernel = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=min(sizes))
    frechet = FrechetInceptionDistance(feature=Flat(), input_img_size=(3, 2, 2)).set_dtype(
        torch.float64
    )
    few = min(sizes)
    for measure, rows in ((kernel, (left[:few], right[:few])), (frechet, (left, right))):
        measure.update(as_pixels(rows[0]), real=True)
        measure.update(as_pixels(rows[1]), real=False)
    assert kid(left[:few], right[:few]) == pytest.approx(kernel.compute()[0].item(), abs=1e-6)
    assert fid(left, right) == pytest.approx(frechet.compute().item(), abs=1e-5)


def test_sets_as_their_formulas_have_them() -> None:
    draw = np.random.default_rng(4)
    left, right = draw.normal(size=(30, 6)), draw.normal(1, 2, size=(20, 6))
    root = scipy.linalg.sqrtm(np.cov(left, rowvar=False) @ np.cov(right, rowvar=False)).real
    expected = np.sum((left.mean(0) - right.mean(0)) ** 2) + np.trace(
        np.cov(left, rowvar=False) + np.cov(right, rowvar=False) - 2 * root
    )
    assert fid(left, right) == pytest.approx(expected)
    assert fid(left, left.copy()) == pytest.approx(0, abs=1e-9)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / 6 + 1) ** 3

    def within(rows: np.ndarray) -> float:
        return float(np.mean([kernel(x, y) for x, y in itertools.permutations(rows, 2)]))

    across = np.mean([kernel(x, y) for x in left for y in right])
    assert kid(left, right) == pytest.approx(within(left) + within(right) - 2 * across)


def test_the_floor_of_fid() -> None:
    rows = np.random.default_rng(5).normal(size=(4, 8))
    splits = [(0, 1), (0, 2), (0, 3)]
    others = [tuple(sorted({0, 1, 2, 3} - set(split))) for split in splits]
    possible = [
        fid(rows[list(left)], rows[list(right)]) for left, right in zip(splits, others, strict=True)
    ]
    floor = fid_floor(rows)
    assert floor is not None
    assert min(possible) < floor < max(possible)
    assert fid_floor(rows[:3]) is None
    # The fewer photographs of one kind, the higher: what few pictures have is mostly bias.
    many = np.random.default_rng(6).normal(size=(200, 8))
    few = fid_floor(many[:10])
    whole = fid_floor(many)
    assert few is not None and whole is not None and few > 5 * whole
