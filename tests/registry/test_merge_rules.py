"""What a merge does with tensors that have no sum, with layouts and bases; how it is recognised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dsvd_registry import Registry
from dsvd_registry.errors import BaseMismatch, InvalidArgument, NotFound
from dsvd_registry.registry import LayerWeight

from .conftest import Pair, Weights, bits, files_in, write_safetensors
from .merging import check_sum, result

PARTS = [("subject", 0.6), ("other", 0.4)]
NO_SUM = ("raw_dtype_int", "raw_dtype_fp8", "raw_dtype_bool", "raw_base_dtype", "raw_shape",
          "raw_non_finite", "raw_new", "tied_too")  # fmt: skip


def other_tuned(pair: Pair) -> Weights:
    """A fine-tune with half of the change of `pair`'s wherever there is a sum, else its very bits."""
    made = {}
    for name, tensor in pair.tuned.items():
        before = pair.base.get(name)
        if before is None or name in NO_SUM or not tensor.is_floating_point():
            made[name] = tensor.clone()
            continue
        changed = tensor.double()
        rows = len(before) if before.ndim else 1
        common = changed[:rows] if changed.ndim else changed
        common += before.double()
        common /= 2
        made[name] = changed.to(tensor.dtype)
    return made


@pytest.fixture
def two(registry: Registry, pair: Pair, tmp_path: Path) -> Iterator[Registry]:
    """`subject@1` with a tensor of every kind, and `other@1`, whose tensors are of these kinds, too."""
    add_other(registry, other_tuned(pair), tmp_path)
    yield registry


def add_other(registry: Registry, weights: Weights, folder: Path, name: str = "other") -> None:
    file = write_safetensors(weights, folder / f"{name}-source.safetensors")
    registry.add(file, base="sd15", name=name, tau=0.9)


def has_sum(pair: Pair, name: str) -> bool:
    return name not in NO_SUM and pair.tuned[name].is_floating_point() and name in pair.base


def test_every_kind(two: Registry, pair: Pair, tmp_path: Path) -> None:
    merged = two.merge(PARTS, name="merged")
    made, *files = (result(two, ref, tmp_path) for ref in ("merged", "subject", "other"))
    assert made.keys() == files[0].keys()
    weighted = [(weight, file) for (_, weight), file in zip(PARTS, files, strict=True)]
    for name, tensor in made.items():
        if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e5m2) or not has_sum(pair, name):
            assert bits(tensor) == bits(files[0][name]), name
            continue
        base = pair.base[name]
        rows = len(base) if base.ndim else None
        common = [(weight, file[name][:rows] if rows else file[name]) for weight, file in weighted]
        check_sum(tensor[:rows] if rows else tensor, base, common, name)
        assert bits(tensor[rows:] if rows else tensor[None][1:]) == bits(
            files[0][name][rows:] if rows else tensor[None][1:]
        ), name
    kinds = {row.name: row.kind for row in two.report("merged").tensors}
    assert kinds["constant_betas"] == "constant"
    assert two.report("merged").left_out == ()
    assert two.verify(merged.ref, deep=True).is_well


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_every_kind_by_1_and_0(weights: tuple[float, float], two: Registry, tmp_path: Path) -> None:
    two.merge([("subject", weights[0]), ("other", weights[1])], name="one")
    one = result(two, "one", tmp_path)
    own = result(two, "subject" if weights[0] else "other", tmp_path)
    assert {name: bits(tensor) for name, tensor in one.items()} == {
        name: bits(tensor) for name, tensor in own.items()
    }


@pytest.mark.parametrize("name", ["raw_dtype_int", "raw_new", "raw_shape", "raw_non_finite"])
def test_what_differs_and_has_no_sum(
    name: str, registry: Registry, pair: Pair, tmp_path: Path
) -> None:
    weights = other_tuned(pair)
    weights[name] = weights[name].flip(0) * (1 if weights[name].is_floating_point() else 2)
    add_other(registry, weights, tmp_path)
    with pytest.raises(
        InvalidArgument, match=f"{name}.*differs in subject@1 and other@1"
    ) as raised:
        registry.merge(PARTS, name="merged")
    assert "--take-from" in raised.value.hint
    assert [version.model for version in registry.versions()] == ["subject", "other"]
    registry.merge(PARTS, name="merged", take_from="other")
    made = result(registry, "merged", tmp_path)
    assert bits(made[name]) == bits(weights[name])
    registry.merge(PARTS, name="merged", take_from="subject")
    assert bits(result(registry, "merged@2", tmp_path)[name]) == bits(pair.tuned[name])


def test_new_rows_that_differ(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    name = "text_encoder.low_rank_added_rows"
    weights, rows = other_tuned(pair), len(pair.base[name])
    weights[name][rows:] += 1
    add_other(registry, weights, tmp_path)
    with pytest.raises(InvalidArgument, match=name):
        registry.merge(PARTS, name="merged")
    registry.merge(PARTS, name="merged", take_from="other")
    made = result(registry, "merged", tmp_path)[name]
    assert bits(made[rows:]) == bits(weights[name][rows:])
    files = [(weight, result(registry, ref, tmp_path)[name][:rows]) for ref, weight in PARTS]
    check_sum(made[:rows], pair.base[name], files, name)


def test_rows_that_only_one_has(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    name = "text_encoder.low_rank_added_rows"
    weights, rows = other_tuned(pair), len(pair.base[name])
    weights[name] = weights[name][:rows]
    add_other(registry, weights, tmp_path)
    registry.merge(PARTS, name="merged")
    made = result(registry, "merged", tmp_path)[name]
    assert bits(made[rows:]) == bits(pair.tuned[name][rows:])
    with pytest.raises(InvalidArgument, match=name):  # they would be lost
        registry.merge(PARTS[::-1], name="merged")


def test_what_only_one_has(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    weights = other_tuned(pair)
    weights["only_there"] = torch.ones(3)
    del weights["raw_new"], weights["unet.conv_in.dense"]
    add_other(registry, weights, tmp_path)
    registry.merge(PARTS, name="merged")
    made = result(registry, "merged", tmp_path)
    assert made.keys() == pair.tuned.keys()
    assert bits(made["raw_new"]) == bits(pair.tuned["raw_new"])
    own = result(registry, "subject", tmp_path)["unet.conv_in.dense"]
    check_sum(made["unet.conv_in.dense"], pair.base["unet.conv_in.dense"], [(0.6, own)], "dense")
    (entry,) = registry.report("merged").left_out
    assert (entry.name, entry.reason) == ("only_there", "only in other@1")


@pytest.mark.parametrize(
    ("name", "dtype"), [("raw_range", "F32"), ("unet.mid_block.low_rank_f32_f16", "F16")]
)
def test_too_large_for_the_dtype(name: str, dtype: str, two: Registry) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}' is not finite in {dtype}"):
        two.merge(PARTS, name="merged", layers=[LayerWeight(name, 1e9)])


@pytest.mark.parametrize(
    ("parts", "options", "said"),
    [
        ([], {}, "no version"),
        ([("subject", float("nan"))], {}, "not a number"),
        (PARTS, {"tau": 0.5, "max_error": 0.1}, "both tau and max_error"),
        (PARTS, {"tau": 1.5}, "outside"),
        (PARTS, {"max_error": 1.0}, "outside"),
        (PARTS, {"layers": [LayerWeight("nothing.*", 0.5)]}, "nothing"),
        (PARTS[:1], {"layers": [LayerWeight("*", 0.5, "other")]}, "none of the versions"),
        (PARTS[:1], {"take_from": "other"}, "none of the versions"),
        ([("subject", 1.0), ("other", 0.0)], {"take_from": "other"}, "weight 0"),
        (PARTS, {"note": "x" * 70_000}, "note"),
    ],
)
def test_refusals(
    parts: list[tuple[str, float]], options: dict[str, object], said: str, two: Registry
) -> None:
    before = files_in(two.folder / "objects")
    with pytest.raises(InvalidArgument, match=said):
        two.merge(parts, name="merged", **options)  # type: ignore[arg-type]
    assert files_in(two.folder / "objects") == before


def test_unknown_versions(two: Registry) -> None:
    with pytest.raises(NotFound):
        two.merge([("subject", 0.5), ("nobody", 0.5)], name="merged")


def test_another_base(two: Registry, pair: Pair, tmp_path: Path) -> None:
    moved = {
        name: t + 1 if t.is_floating_point() and t.dtype.itemsize > 1 else t
        for name, t in pair.base.items()
    }
    two.add_base("sd21", write_safetensors(moved, tmp_path / "moved.safetensors"))
    two.add(pair.tuned_file, base="sd21", name="far")
    with pytest.raises(
        BaseMismatch, match=r"subject@1 is a version of the base sd15, far@1 of sd21"
    ):
        two.merge([("subject", 0.5), ("far", 0.5)], name="merged")


def test_the_same_again_is_not_computed(two: Registry) -> None:
    first = two.merge(PARTS, name="merged")
    objects = files_in(two.folder / "objects")
    again = two.merge(PARTS, name="merged")
    assert (first.created, again.created, again.ref) == (True, False, first.ref)
    twin = two.merge(PARTS, name="twin")
    assert (twin.created, twin.version.container) == (True, first.version.container)
    assert files_in(two.folder / "objects") == objects
    # The recipe is of containers, whatever their versions are called.
    renamed = two.import_container(
        two.export_container("other", two.folder.parent / "o.dsvd").path, name="alike"
    )
    assert renamed.version.container == two.version("other").container
    assert not two.merge([("subject", 0.6), ("alike", 0.4)], name="merged").created
    for parts, options in (
        ([("subject", 0.6), ("other", 0.5)], {}),
        (PARTS[::-1], {}),
        (PARTS, {"tau": 0.5}),
        (PARTS, {"layers": [LayerWeight("unet.*", 0.5)]}),
    ):
        assert two.merge(parts, name="merged", **options).created  # type: ignore[arg-type]


def recipe(registry: Registry, ref: str) -> object:
    return json.loads(registry.version(ref).settings)["merge"]


def test_where_it_comes_from_is_kept(two: Registry, pair: Pair, tmp_path: Path) -> None:
    rules = [LayerWeight("unet.*", 0.5), LayerWeight("vae.*", 0.0, "other")]
    two.merge(PARTS, name="merged", layers=rules, take_from="subject")
    containers = {ref: two.version(ref).container for ref, _ in PARTS}
    expected = {
        "versions": [
            {"name": "subject@1", "container": containers["subject"], "weight": 0.6},
            {"name": "other@1", "container": containers["other"], "weight": 0.4},
        ],
        "layers": [
            {"pattern": "unet.*", "weight": 0.5},
            {"pattern": "vae.*", "weight": 0.0, "container": containers["other"]},
        ],
        "take_from": containers["subject"],
    }
    assert recipe(two, "merged") == expected
    two.close()
    Registry.rebuild_catalog(two.folder)
    with Registry.open(two.folder) as rebuilt:
        assert recipe(rebuilt, "merged") == expected
        file = rebuilt.export_container("merged", tmp_path / "merged.dsvd").path
        made = rebuilt.materialize("merged", tmp_path / "here.safetensors")
    with Registry.init(tmp_path / "elsewhere") as elsewhere:
        elsewhere.add_base("sd15", pair.base_file)
        imported = elsewhere.import_container(file, name="came")
        assert recipe(elsewhere, imported.ref) == expected
        assert elsewhere.materialize("came", tmp_path / "there.safetensors").sha256 == made.sha256
        assert elsewhere.verify(deep=True).is_well


def test_the_file_is_a_usual_one(two: Registry, tmp_path: Path) -> None:
    two.merge(PARTS, name="merged")
    made = two.materialize("merged", tmp_path / "out.safetensors")
    with safe_open(made.path, "pt") as file:
        assert file.metadata()["dsvd.base"] == two.version("merged").base
