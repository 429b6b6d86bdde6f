"""A version's tensors on each device, and their contents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from registry.conftest import TAU, every_kind, write_pair

from dsvd_registry import Registry
from dsvd_registry.container.records import BaseTensor, DenseRecord, LowRankRecord, SameRecord
from dsvd_registry.layouts import View, ViewedTensors
from dsvd_registry.runtime.content import composed, content_of
from dsvd_registry.runtime.make_tensors import Maker

from .conftest import DEVICES
from .studio import same


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("kinds")
    pair = write_pair(folder, *every_kind())
    with Registry.init(folder / "registry") as made:
        made.add_base("base", pair.base_file)
        made.add(pair.tuned_file, base="base", name="subject", tau=TAU)
        yield made


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tau", [None, 0.3])
def test_every_kind_of_tensor(registry: Registry, device: str, tau: float | None) -> None:
    version = registry.version("subject")
    with (
        registry.repository.open_container(version) as container,
        registry.repository.open_base(registry.repository.base_of(version)) as base,
        registry.tensors("subject", tau=tau) as tensors,
    ):
        maker = Maker(container, base, tau)
        computed = 0
        for record in container.header.tensors:
            expected = tensors[record.name]
            assert same(maker.result(record.name, torch.device(device)).cpu(), expected)
            if isinstance(record, LowRankRecord | DenseRecord) and not record.new_rows:
                # As on another device, whether there is one or not.
                made = maker.computed(record.name, torch.device(device))
                assert same(made.cpu(), expected), record.name
                computed += 1
        assert computed >= 6


BASE = [BaseTensor(name, "F32", (4, 3), name * 32) for name in ("aa", "bb", "cc")]


@pytest.mark.parametrize(
    ("tensors", "inner", "outer", "expected"),
    [
        (1, View(), View(), (slice(0, 1), View())),
        (1, View(), View("slice", 2, 2), (slice(0, 1), View("slice", 2, 2))),
        (1, View("slice", 2, 2), View(), (slice(0, 1), View("slice", 2, 2))),
        (1, View("transpose"), View("transpose"), (slice(0, 1), View())),
        (1, View(), View("roll", 2), (slice(0, 1), View("roll", 2))),
        (1, View("roll", 1), View("roll", 3), (slice(0, 1), View())),
        (1, View("roll", 1), View("roll", 1), None),
        (3, View("concatenate"), View("slice", 4, 4), (slice(1, 2), View())),
        (3, View("concatenate"), View("slice", 4, 5), None),
        (1, View("slice", 2, 2), View("slice", 0, 1), None),
    ],
)
def test_a_view_of_a_view(tensors, inner, outer, expected) -> None:
    base = tuple(BASE[:tensors])
    record = SameRecord("x", "F32", inner.shape([t.shape for t in base]), base, inner, 0)
    found = composed(record, outer)
    assert found == (
        None if expected is None else content_of(ViewedTensors(base[expected[0]], expected[1]))
    )


def test_a_slice_of_what_was_reshaped_is_not_one_of_the_base() -> None:
    record = SameRecord("x", "F32", (6, 2), (BASE[0],), View(), 0)
    assert composed(record, View("slice", 2, 2)) is None
    assert composed(record, View()) is not None
