"""A re-add is recognised by source, base and settings, and computes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

from .conftest import TAU, Pair, files_in, run_python, write_pickle

ADD_AGAIN = """
import sys
from dsvd_registry import Registry
with Registry.open(sys.argv[1]) as registry:
    added = registry.add(sys.argv[2], base="sd15", name=sys.argv[3], tau=0.8)
print(added.created, added.ref)
print("dsvd_registry.encoding.container_builder" in sys.modules, "torch" in sys.modules)
"""


def objects(root: Path) -> dict[str, bytes]:
    return files_in(root / "objects")


def test_the_same_again(root: Path, pair: Pair) -> None:
    before = objects(root), files_in(root / "events")
    printed = run_python(ADD_AGAIN, root, pair.tuned_file, "subject")
    assert printed.split() == ["False", "subject@1", "False", "False"]
    assert (objects(root), files_in(root / "events")) == before


def test_the_same_bytes_from_another_path(root: Path, pair: Pair, tmp_path: Path) -> None:
    copy = tmp_path / "copy.bin"
    copy.write_bytes(pair.tuned_file.read_bytes())
    assert run_python(ADD_AGAIN, root, copy, "subject").split()[:2] == ["False", "subject@1"]


def test_another_model_shares_the_container(root: Path, pair: Pair) -> None:
    before = objects(root)
    printed = run_python(ADD_AGAIN, root, pair.tuned_file, "twin")
    assert printed.split() == ["True", "twin@1", "False", "False"]
    assert objects(root) == before
    with Registry.open(root) as registry:
        assert registry.version("twin").container == registry.version("subject").container
        assert registry.report("twin") == registry.report("subject")


@pytest.mark.parametrize("change", [{"tau": 0.5}, {"grid_noise": 0.1}])
def test_other_settings_make_a_new_version(
    registry: Registry, pair: Pair, change: dict[str, float]
) -> None:
    added = registry.add(pair.tuned_file, base="sd15", name="subject", **{"tau": TAU, **change})
    assert added.created
    assert added.ref == "subject@2"
    assert added.version.container != registry.version("subject@1").container
    again = registry.add(pair.tuned_file, base="sd15", name="subject", tau=TAU)
    assert (again.created, again.ref) == (False, "subject@1")


def test_a_file_that_changed_is_not_taken_for_the_old_one(
    registry: Registry, pair: Pair, tmp_path: Path
) -> None:
    source = tmp_path / "ft.safetensors"
    source.write_bytes(pair.tuned_file.read_bytes())
    assert not registry.add(source, base="sd15", name="subject", tau=TAU).created
    data = bytearray(source.read_bytes())
    data[-3] ^= 1
    source.write_bytes(data)
    os.utime(source, ns=(0, 0))
    assert registry.add(source, base="sd15", name="subject", tau=TAU).ref == "subject@2"


def test_a_removed_version_is_computed_or_found_again(registry: Registry, pair: Pair) -> None:
    registry.remove_version("subject@1")
    added = registry.add(pair.tuned_file, base="sd15", name="subject", tau=TAU)
    assert (added.created, added.ref) == (True, "subject@2")
    assert registry.verify(deep=True).is_well


def test_a_lost_container_is_made_again(registry: Registry, pair: Pair) -> None:
    lost = registry.version("subject").container
    (registry.folder / "objects" / lost[:2] / lost).unlink()
    added = registry.add(pair.tuned_file, base="sd15", name="subject", tau=TAU)
    assert (added.created, added.ref) == (False, "subject@1")
    assert registry.verify(deep=True).is_well


def test_one_base_in_every_file_format(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    digest = registry.base("sd15").digest
    for legacy in (False, True):
        source = write_pickle(pair.base, tmp_path / f"{legacy}.ckpt", legacy=legacy)
        again = registry.add_base("sd15", source)
        assert (again.digest, again.format) == (digest, "pickle")
        assert registry.verify(deep=True).is_well
    assert [base.name for base in registry.bases()] == ["sd15"]


def test_settings_are_judged_before_anything_is_stored(registry: Registry, pair: Pair) -> None:
    before = files_in(registry.folder / "objects"), registry.versions()
    for wrong in ({"tags": ["no tag"]}, {"name": "no name"}, {"grid_noise": 0.0}):
        arguments = {"name": "other", "tau": 0.3, **wrong}
        with pytest.raises(InvalidArgument):
            registry.add(pair.tuned_file, base="sd15", **arguments)
    assert (files_in(registry.folder / "objects"), registry.versions()) == before
