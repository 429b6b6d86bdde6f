"""Spectra of layer groups: medians of what is known."""

from __future__ import annotations

import numpy as np
import pytest

from dsvd_registry.registry.accounts.group_spectra import TensorSpectrum, group_spectra

TAUS = (0.5, 0.9)


def tensor(
    name: str, values: list[float], full_rank: int = 0, nuclear_norm: float = 0
) -> TensorSpectrum:
    """A tensor with a whole spectrum, or with the first of `full_rank` singular values."""
    stored = np.array(values, np.float32)
    return TensorSpectrum(
        name, full_rank or len(values), nuclear_norm or float(sum(values)), stored
    )


def test_groups_stand_in_the_order_of_a_forward_pass() -> None:
    names = ("unet.up_blocks.0.a", "unet.conv_in.a", "unet.mid_block.a", "unet.up_blocks.0.b")
    found = group_spectra([tensor(name, [2.0, 1.0]) for name in names], TAUS)
    assert [(group.group, group.tensors) for group in found] == [
        ("conv_in", 1),
        ("mid", 1),
        ("up", 2),
    ]
    assert group_spectra([], TAUS) == ()


def test_one_tensor_is_its_own_median() -> None:
    values = [8.0, 4.0, 2.0, 1.0]
    (group,) = group_spectra([tensor("unet.conv_in.a", values)], TAUS)
    assert group.full_rank == 4
    assert (group.places[0], group.places[-1]) == pytest.approx((0.25, 1.0))
    for number, value in enumerate(values, 1):
        at = np.interp(number / 4, group.places, group.values)
        assert at == pytest.approx(value / 8, rel=0.02)
    assert group.tau_places == (0.25, 0.75)  # 8 of 15, and 14 of 15


def test_the_median_is_of_shares_of_the_largest() -> None:
    tensors = [
        tensor("unet.conv_in.a", [10.0, 1.0]),
        tensor("unet.conv_in.b", [1.0, 0.5]),
        tensor("unet.conv_in.c", [100.0, 90.0]),
    ]
    (group,) = group_spectra(tensors, TAUS)
    assert (group.values[0], group.values[-1]) == pytest.approx((1.0, 0.5))


def test_what_is_stored_only_in_part_ends_where_it_ends() -> None:
    part = tensor("unet.conv_in.a", [8.0, 4.0], full_rank=16, nuclear_norm=15.0)
    (group,) = group_spectra([part], TAUS)
    assert group.places[-1] == pytest.approx(2 / 16)
    assert group.values[-1] == pytest.approx(0.5, rel=1e-6)
    assert group.tau_places == (1 / 16, None)
    longer = tensor("unet.conv_in.b", [8.0, 6.0, 4.0], full_rank=16, nuclear_norm=20.0)
    (group,) = group_spectra([part, longer], TAUS)
    assert group.places[-1] == pytest.approx(2 / 16)
    assert all(group.values)


def test_values_of_nothing_are_drawn_as_nothing() -> None:
    (group,) = group_spectra([tensor("unet.conv_in.a", [1.0, 0.0, 0.0])], (1.0,))
    assert group.values[-1] < 1e-20
    assert group.tau_places == (1 / 3,)


def test_one_value_is_one_place() -> None:
    (group,) = group_spectra([tensor("unet.conv_in.a", [3.0])], TAUS)
    assert set(group.places) == {1.0}
    assert set(group.values) == {1.0}
