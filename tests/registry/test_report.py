"""The report adds up: every tensor of the source stands in it once, with its bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from dsvd_registry import Registry
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import RAW_REASONS
from dsvd_registry.registry import Report

from .conftest import (
    TAU,
    Callback,
    Pair,
    Weights,
    bits,
    object_path,
    write_pair,
    write_pickle,
    write_safetensors,
)


def assert_adds_up(registry: Registry, ref: str, tuned: Weights) -> Report:
    report = registry.report(ref)
    version = registry.version(ref)
    data = sum(len(bits(tensor)) if tensor.numel() else 0 for tensor in tuned.values())
    parameters = sum(tensor.numel() for tensor in tuned.values())

    assert sorted(row.name for row in report.tensors) == sorted(tuned)
    kinds = ["same", "low_rank", "dense", "raw", "cast", "quantised", "constant"]
    assert [row.kind for row in report.kinds] == kinds
    for kind in report.kinds:
        rows = [row for row in report.tensors if row.kind == kind.kind]
        assert kind.tensors == len(rows)
        assert kind.parameters == sum(tuned[row.name].numel() for row in rows)
        assert kind.source_bytes == sum(tuned[row.name].nbytes for row in rows)
        assert kind.stored_bytes == sum(row.stored_bytes for row in rows)
    assert sum(kind.tensors for kind in report.kinds) == report.total == len(tuned)
    assert sum(kind.parameters for kind in report.kinds) == report.parameters == parameters
    assert sum(kind.source_bytes for kind in report.kinds) == data
    for name in ("tensors", "parameters", "stored_bytes"):
        by_group = sum(getattr(group, name) for group in report.groups)
        assert by_group == sum(getattr(kind, name) for kind in report.kinds), name
    assert len({group.group for group in report.groups}) == len(report.groups)

    path = object_path(registry.folder, version.container)
    with Container(path) as container:
        header = container.header
        frames = sum(frame.stored for frame in header.frames if frame.parts)
        start = path.stat().st_size - sum(frame.stored for frame in header.frames)
        prologue = int.from_bytes(path.read_bytes()[12:16], "little") + 56
    stored = sum(kind.stored_bytes for kind in report.kinds)
    assert abs(stored - frames) <= len(tuned) / 2  # each share is rounded to a byte
    assert report.stored_bytes == version.size == path.stat().st_size
    assert start == prologue
    assert report.source_bytes == version.source.size
    return report


def names_of(report: Report, kind: str) -> set[str]:
    return {row.name for row in report.tensors if row.kind == kind}


def starting(names: Iterable[str], start: str) -> set[str]:
    return {name for name in names if name.rpartition(".")[2].startswith(start)}


def test_every_kind_and_every_reason(registry: Registry, pair: Pair) -> None:
    report = assert_adds_up(registry, "subject", pair.tuned)
    assert names_of(report, "same") == starting(pair.tuned, "same")
    assert names_of(report, "low_rank") == starting(pair.tuned, "low_rank")
    assert names_of(report, "dense") == starting(pair.tuned, "dense") | {"tied"}
    assert names_of(report, "raw") == starting(pair.tuned, "raw") | {"tied_too"}
    raw = {row.name: row.reason for row in report.tensors if row.kind == "raw"}
    assert names_of(report, "constant") == starting(pair.tuned, "constant")
    constant = {row.reason for row in report.tensors if row.kind == "constant"}
    assert constant == {RAW_REASONS["constant"]}
    of_quantised = {RAW_REASONS["quantised"], RAW_REASONS["scheme"]}  # see tests/quantised
    assert set(raw.values()) | constant == set(RAW_REASONS.values()) - of_quantised
    assert raw["tied_too"] == raw["raw_new"] == RAW_REASONS["new"]
    for reason in ("shape", "base_dtype", "non_finite", "signed_zero", "smaller", "range"):
        assert raw[f"raw_{reason}"] == RAW_REASONS[reason]  # type: ignore[index]
    assert report.not_taken == ("not_taken",)
    assert report.left_out == ()
    assert (report.tau, report.grid_noise) == (TAU, 0.015)


def test_a_trained_model(trained_registry: Registry, trained: Pair) -> None:
    report = assert_adds_up(trained_registry, "subject", trained.tuned)
    groups = {group.group: group for group in report.groups}
    assert {"down", "mid", "up", "conv_in", "conv_out", "text encoder"} <= groups.keys()
    assert report.warnings == ()
    assert 0 < report.change < 0.2
    for group in report.groups:
        rows = [
            row
            for row in report.tensors
            if row.kind == "low_rank" and f".{group.group}" in f".{row.name}"
        ]
        if group.group in ("down", "mid", "up"):
            assert group.low_rank == len(rows) > 2
            assert group.rank == pytest.approx(sum(row.rank or 0 for row in rows) / len(rows))
            assert group.rank < group.full_rank
            assert group.energy > TAU


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_more_than_weights(
    registry: Registry, pair: Pair, tmp_path: Path, legacy: bool
) -> None:
    source = write_pickle(pair.tuned, tmp_path / "ft.ckpt", legacy=legacy)
    registry.add(source, base="sd15", name="pickled", tau=TAU)
    report = assert_adds_up(registry, "pickled", pair.tuned)
    left_out = [entry.name for entry in report.left_out]
    assert left_out == ["optimizer.exp_avg", f"{Callback.__module__}.Callback"]


def test_the_wrong_base(tmp_path: Path) -> None:
    torch.manual_seed(1)
    base, other = ({"w": torch.randn(30, 40), "b": torch.randn(40)} for _ in range(2))
    pair = write_pair(tmp_path, base, other)
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("wrong", pair.base_file)
        registry.add(pair.tuned_file, base="wrong", name="subject")
        report = assert_adds_up(registry, "subject", other)
    (warning,) = report.warnings
    assert "not the base" in warning
    assert report.change == pytest.approx(2**0.5, rel=0.1)


def test_numbers_that_are_not_finite(registry: Registry, pair: Pair) -> None:
    warnings = registry.report("subject").warnings
    assert any("NaN or infinity" in warning for warning in warnings)
    # The others are of a pair without such a tensor, and have no such warning.
    clean = {name: w for name, w in pair.tuned.items() if name.startswith("unet.")}
    source = write_safetensors(clean, registry.folder.parent / "clean.safetensors")
    registry.add(source, base="sd15", name="clean")
    assert registry.report("clean").warnings == ()


def test_what_the_fine_tune_lacks(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    part = {"vae.same": pair.base["vae.same"]}
    registry.add(write_safetensors(part, tmp_path / "p.safetensors"), base="sd15", name="part")
    report = assert_adds_up(registry, "part", part)
    assert set(report.not_taken) == pair.base.keys() - {"vae.same"}
    assert [group.group for group in report.groups] == ["VAE"]


def test_the_summary_of_a_version(registry: Registry) -> None:
    version, report = registry.version("subject"), registry.report("subject")
    assert version.summary == {
        **{kind.kind: kind.tensors for kind in report.kinds},
        "tau": report.tau,
        "tensors": report.total,
        "parameters": report.parameters,
        "error": report.error,
        "change": report.change,
    }
