"""Codes of weights: those that torch's casts give, for every number that there is in binary16."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsvd_registry.codec.quantise import (
    GRIDS,
    Blocks,
    Grid,
    code_bits,
    joined,
    order_of,
    quantise,
    scale_values,
    split,
)

HALVES = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.float16).float()
NUMBERS = HALVES[~HALVES.isnan()]
FLOAT8 = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
ONE = np.ones(1, np.float32)


@pytest.mark.parametrize("grid", ["e4m3", "e5m2"])
@pytest.mark.parametrize("scale", [1.0, 0.37, 2.0**-20, 3e4])
def test_as_torch_casts(grid: Grid, scale: float) -> None:
    kind = FLOAT8[grid]
    most = torch.finfo(kind).max
    expected = (NUMBERS / torch.tensor(scale)).clamp(-most, most).to(kind).view(torch.uint8)
    found = quantise(NUMBERS.numpy(), np.array([scale], np.float32), grid, "divide", None)
    assert (found.codes == expected.numpy()).all()


def test_as_torch_rounds_to_int8() -> None:
    scale = torch.tensor(0.21)
    expected = torch.round(NUMBERS * (1 / scale)).clamp(-128, 127).to(torch.int8)
    found = quantise(NUMBERS.numpy(), scale.reshape(1).numpy(), "int8", "multiply", None)
    assert (found.codes.view(np.int8) == expected.numpy()).all()


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_numbers_of_scales(dtype: str) -> None:
    kinds = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"}
    every = torch.arange(256, dtype=torch.uint8)
    expected = every.view(getattr(torch, kinds[dtype])).float().numpy()
    found = scale_values(bytes(range(256)), dtype)
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("grid", GRIDS)
def test_order_is_a_bijection(grid: Grid) -> None:
    places, codes = order_of(grid)
    count = 1 << code_bits(grid)
    assert sorted(places) == sorted(codes) == list(range(count))
    assert (codes[places] == np.arange(count)).all()


@pytest.mark.parametrize("grid", ["e4m3", "e5m2"])
def test_order_is_that_of_numbers(grid: Grid) -> None:
    _, codes = order_of(grid)
    values = torch.from_numpy(codes.copy()).view(FLOAT8[grid]).float().numpy()
    values = values[~np.isnan(values)]
    assert (np.diff(values) >= 0).all()


def test_a_step_over_the_border_is_up() -> None:
    """A weight that moves over the nearest border gets the next code on that side."""
    weights = np.linspace(-7, 7, 4001).astype(np.float32)
    for grid in ("e4m3", "e5m2", "int8", "e2m1"):
        found = quantise(weights, ONE, grid, "divide", None)
        places, _ = order_of(grid)
        # Near enough that nothing else can be between: a thousandth of the step.
        moved = weights + np.where(found.up, 1, -1) * np.float32(0.51) * np.maximum(
            1 if grid == "int8" else 0, np.abs(weights) * {"e4m3": 0.125, "e5m2": 0.25}.get(grid, 1)
        ).astype(np.float32)
        inside = np.abs(weights) < 5
        after = quantise(moved.astype(np.float32), ONE, grid, "divide", None)
        steps = places[after.codes].astype(int) - places[found.codes].astype(int)
        assert (np.sign(steps[inside]) * np.where(found.up, 1, -1)[inside] >= 0).all()


@pytest.mark.parametrize("is_low_first", [True, False])
def test_halves_of_bytes(is_low_first: bool) -> None:
    data = np.arange(256, dtype=np.uint8)
    codes = split(data, 4, is_low_first)
    assert (joined(codes, 4, is_low_first) == data).all()
    assert codes[2 * 0x2F] == (0xF if is_low_first else 0x2)


def test_tiles() -> None:
    """Every scale of a padded matrix has a place of its own, that of NVIDIA's layout."""
    blocks = Blocks((200, 36), 1, 4, is_tiled=True)
    numbers = torch.arange(256 * 12).reshape(2, 128, 3, 4).permute(0, 2, 1, 3)
    laid = numbers.reshape(-1, 4, 32, 4).transpose(1, 2).reshape(-1)
    at = blocks.of(0, 200 * 36).reshape(200, 9, 4)[:, :, 0]
    assert (laid.numpy()[at] == np.arange(256 * 12).reshape(256, 12)[:200, :9]).all()
    assert blocks.scales == 256 * 12
