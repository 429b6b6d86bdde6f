"""The published models by name and shape: every tensor has its counterpart."""

import pytest

from dsvd_registry.layouts import describe, map_names

from . import full_size
from .reading import infos

# Tensors of the diffusers folder (U-Net, VAE, text encoders), and of the original file without
# its sampler's numbers (`alphas_cumprod` and the like).
COUNTS = {"sd1": (686 + 248 + 196, 1131), "sd2": (686 + 248 + 372, 1228), "sdxl": (2641, 2515)}
KINDS = {"sd1": (0, 0), "sd2": (23 * 6, 0), "sdxl": (32 * 6, 1)}


@pytest.fixture(params=COUNTS)
def family(request):
    return request.param


def test_original_base_and_diffusers_fine_tune(family):
    base, fine_tune = infos(full_size.original(family)), infos(full_size.folder(family))
    assert (len(fine_tune), len(base)) == COUNTS[family]
    names = map_names(base, fine_tune)
    assert names.unmatched == ()
    assert len(names.correspondences) == len(fine_tune)
    kinds = [found.base.view.kind for found in names.correspondences]
    assert (kinds.count("slice"), kinds.count("transpose")) == KINDS[family]
    # What the two layouts only name differently is one object in both.
    states = full_size.original(family), full_size.folder(family)
    same = [
        states[0][found.base.tensors[0]] is states[1][found.tensor]
        for found in names.correspondences
    ]
    linear_in_the_vae = 2 * 4
    assert same.count(False) == sum(KINDS[family]) + linear_in_the_vae
    assert kinds.count("concatenate") == 0


def test_diffusers_base_and_original_fine_tune(family):
    names = map_names(infos(full_size.folder(family)), infos(full_size.original(family)))
    assert {found.tensor for found in names.unmatched} == set(full_size.extra(family))
    kinds = [found.base.view.kind for found in names.correspondences]
    slices, transposes = KINDS[family]
    assert (kinds.count("concatenate"), kinds.count("transpose")) == (slices // 3, transposes)
    # Every tensor of the base is used, once.
    used = [name for found in names.correspondences for name in found.base.tensors]
    assert sorted(used) == sorted(full_size.folder(family))


def test_averages(family):
    fine_tune = infos(full_size.with_averages(family))
    names = map_names(infos(full_size.original(family)), fine_tune)
    assert [found.tensor for found in names.unmatched] == [
        "model_ema.decay",
        "model_ema.num_updates",
    ]
    assert map_names(fine_tune, fine_tune).unmatched == ()


def test_described(family):
    for state, layout in (
        (full_size.original(family), "ldm"),
        (full_size.folder(family), "diffusers"),
    ):
        description = describe(infos(state))
        assert (description.family, description.layout) == (family, layout)
