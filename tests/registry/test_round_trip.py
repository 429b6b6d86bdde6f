"""Round trips keep names, dtypes, order and metadata, and have the reported errors."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dsvd_registry import Registry
from dsvd_registry.container.reader import Container
from dsvd_registry.progress import silent
from dsvd_registry.reconstruction.result_plan import ResultRequest
from dsvd_registry.reconstruction.write_result import write_result

from .conftest import (
    TAU,
    Pair,
    Weights,
    bits,
    header_of,
    object_path,
    sha256,
    write_pair,
    write_pickle,
    write_safetensors,
)

DTYPES = {
    "F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8,
    "BOOL": 8,
}  # fmt: skip


def measured_errors(registry: Registry, ref: str, pair: Pair, result: Weights) -> dict[str, float]:
    """The relative error of each delta, from the materialised tensors alone."""
    found = {}
    for row in registry.report(ref).tensors:
        if row.error is None:
            continue
        base = pair.base[row.name].double()
        rows = slice(None) if not base.ndim else slice(len(base))
        true, got = (w[row.name].double()[..., None][rows] for w in (pair.tuned, result))
        delta = true - base[..., None]
        found[row.name] = float((got - true).norm() / delta.norm())
    return found


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_every_kind_of_tensor(registry: Registry, pair: Pair, tmp_path: Path, form: str) -> None:
    source = pair.tuned_file
    if form != "safetensors":
        source = write_pickle(pair.tuned, tmp_path / "ft.ckpt", legacy=form == "legacy")
    version = registry.add(source, base="sd15", name=form, tau=TAU).version
    made = registry.materialize(form, tmp_path / "out.safetensors")
    result = load_file(made.path)

    assert made.recorded
    assert (made.sha256, made.size) == (sha256(made.path), made.path.stat().st_size)
    with Container(object_path(registry.folder, version.container)) as container:
        (recorded,) = container.header.results
    assert (recorded.sha256, recorded.size) == (made.sha256, made.size)
    assert version.source.sha256 == sha256(source)
    assert version.source.format == ("safetensors" if form == "safetensors" else "pickle")

    assert result.keys() == pair.tuned.keys()
    for name, tensor in pair.tuned.items():
        assert (result[name].dtype, result[name].shape) == (tensor.dtype, tensor.shape), name
    report = registry.report(form)
    exact = [row.name for row in report.tensors if row.kind in ("same", "raw")]
    assert len(exact) == 16
    for name in exact:
        assert bits(result[name]) == bits(pair.tuned[name]), name
    new_rows = [
        weights["text_encoder.low_rank_added_rows"][20:] for weights in (result, pair.tuned)
    ]
    assert torch.equal(*new_rows)

    errors = {row.name: row.error for row in report.tensors if row.error is not None}
    assert len(errors) == 10
    assert measured_errors(registry, form, pair, result) == pytest.approx(errors, abs=1e-6, rel=0)

    with registry.tensors(form) as lazy, safe_open(made.path, "pt") as file:
        assert sorted(lazy) == sorted(result) == sorted(file.keys())
        for name in lazy:
            assert bits(lazy[name]) == bits(result[name]) == bits(file.get_tensor(name)), name


@pytest.mark.parametrize(
    ("base_dtype", "tuned_dtype"),
    [
        (torch.float32, torch.float16),
        (torch.float32, torch.bfloat16),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float16),
        (torch.float16, torch.float16),
    ],
    ids=str,
)
def test_trained_weights_of_each_dtype(
    tmp_path: Path, trained: Pair, base_dtype: torch.dtype, tuned_dtype: torch.dtype
) -> None:
    names = [name for name in trained.base if ".down_blocks.1." in name or ".mid_block." in name]
    assert len(names) > 40
    pair = write_pair(
        tmp_path,
        {name: trained.base[name].to(base_dtype) for name in names},
        {name: trained.tuned[name].to(tuned_dtype) for name in names},
    )
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", pair.base_file)
        registry.add(pair.tuned_file, base="base", name="subject")
        made = registry.materialize("subject", tmp_path / "out.safetensors")
        result = load_file(made.path)
        assert {tensor.dtype for tensor in result.values()} == {tuned_dtype}
        report = registry.report("subject")
        errors = {row.name: row.error for row in report.tensors if row.error is not None}
        assert any(row.kind == "low_rank" for row in report.tensors)
        assert measured_errors(registry, "subject", pair, result) == pytest.approx(
            errors, abs=1e-6, rel=0
        )
        assert 0 < report.error < 0.6


def test_a_trained_model(trained_registry: Registry, trained: Pair, tmp_path: Path) -> None:
    made = trained_registry.materialize("subject", tmp_path / "out.safetensors")
    result = load_file(made.path)
    assert list(header_of(made.path))[1:] == list(header_of(trained.tuned_file))[1:]
    report = trained_registry.report("subject")
    errors = {row.name: row.error for row in report.tensors if row.error is not None}
    assert len(errors) > 100
    assert measured_errors(trained_registry, "subject", trained, result) == pytest.approx(
        errors, abs=1e-6, rel=0
    )
    off = sum(
        float((result[n].double() - trained.tuned[n].double()).square().sum()) for n in errors
    )
    norm = sum(
        float((trained.tuned[n].double() - trained.base[n].double()).square().sum()) for n in errors
    )
    assert report.error == pytest.approx((off / norm) ** 0.5, abs=1e-6)


def test_tau_one_is_nearly_exact(trained: Pair, tmp_path: Path) -> None:
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("tiny", trained.base_file)
        registry.add(trained.tuned_file, base="tiny", name="subject", tau=1)
        report = registry.report("subject")
        assert report.error < 1e-3
        assert all(row.error < 1e-3 for row in report.tensors if row.kind == "low_rank")
        registry.materialize("subject", tmp_path / "out.safetensors", tau=1)
        result = load_file(tmp_path / "out.safetensors")
        errors = measured_errors(registry, "subject", trained, result)
        assert max(e for n, e in errors.items() if trained.base[n].ndim > 1) < 1e-3


def test_order_and_metadata_of_a_safetensors_source(
    registry: Registry, pair: Pair, tmp_path: Path
) -> None:
    made = registry.materialize("subject", tmp_path / "out.safetensors")
    header, source = header_of(made.path), header_of(pair.tuned_file)
    metadata = header.pop("__metadata__")
    kept = {
        key: value
        for key, value in source.pop("__metadata__").items()
        if key != "modelspec.hash_sha256" and not key.startswith("dsvd.")
    }
    assert kept == {"title": "A dog", "format": "pt"}
    assert list(header.items()) == list(source.items())
    assert list(metadata) == [*kept, "dsvd.base", "dsvd.container", "dsvd.tau"]
    assert metadata == metadata | kept
    assert metadata["dsvd.base"] == registry.base("sd15").digest
    assert metadata["dsvd.tau"] == "0.8"
    with safe_open(made.path, "pt") as file:
        assert file.metadata() == metadata


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_source_gives_a_canonical_file(
    registry: Registry, pair: Pair, tmp_path: Path, legacy: bool
) -> None:
    source = write_pickle(pair.tuned, tmp_path / "ft.ckpt", legacy=legacy)
    registry.add(source, base="sd15", name="pickled", tau=TAU)
    made = registry.materialize("pickled", tmp_path / "out.safetensors")
    header = header_of(made.path)
    metadata = header.pop("__metadata__")
    assert list(metadata) == ["dsvd.base", "dsvd.container", "dsvd.tau", "format"]
    assert metadata["format"] == "pt"
    order = sorted(header, key=lambda name: (-DTYPES[header[name]["dtype"]], name.encode()))
    assert list(header) == order
    position = 0
    for name in order:
        assert header[name]["data_offsets"][0] == position, name
        position = header[name]["data_offsets"][1]
    assert (made.size - position) % 8 == 0


def unusual_file(weights: Weights, path: Path) -> Path:
    """A valid safetensors file as no library writes it: spaced JSON, data against the name order."""
    header, data = {}, b""
    for name in sorted(weights, reverse=True):
        tensor = weights[name]
        dtype = {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype]
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"shape": list(tensor.shape), "data_offsets": offsets, "dtype": dtype}
        data += bits(tensor) if tensor.numel() else b""
    entries = dict(sorted(header.items()))
    text = json.dumps({**entries, "__metadata__": {"sshs_model_hash": "x"}}, indent=1).encode()
    path.write_bytes(struct.pack("<Q", len(text) + 3) + text + b"   " + data)
    return path


def test_a_lossless_result_is_the_source_file(tmp_path: Path) -> None:
    base = {"w": torch.randn(8, 8), "ids": torch.arange(5), "empty": torch.zeros(0, 2)}
    tuned = base | {"ids": torch.arange(5) + 1, "é": torch.randn(3)}
    source = unusual_file(tuned, tmp_path / "ft.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", write_safetensors(base, tmp_path / "base.safetensors"))
        registry.add(source, base="base", name="subject")
        report = registry.report("subject")
        assert {row.kind: row.tensors for row in report.kinds if row.tensors} == {
            "same": 2,
            "raw": 2,
        }
        made = registry.materialize("subject", tmp_path / "out.safetensors")
        assert made.path.read_bytes() == source.read_bytes()
        assert registry.verify(deep=True).is_well


def test_the_base_itself(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    registry.add(pair.base_file, base="sd15", name="unchanged")
    report = registry.report("unchanged")
    assert {row.kind for row in report.kinds if row.tensors} == {"same"}
    assert (report.error, report.change, report.warnings) == (0.0, 0.0, ())
    made = registry.materialize("unchanged", tmp_path / "out.safetensors")
    assert made.path.read_bytes() == pair.base_file.read_bytes()


def test_a_lossless_pickle(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    source = write_pickle(pair.base, tmp_path / "base.ckpt")
    registry.add(source, base="sd15", name="unchanged")
    result = load_file(registry.materialize("unchanged", tmp_path / "out.safetensors").path)
    assert result.keys() == pair.base.keys()
    assert all(bits(result[name]) == bits(pair.base[name]) for name in result)


def test_a_copied_container_gives_the_same_file_elsewhere(
    registry: Registry, pair: Pair, tmp_path: Path
) -> None:
    here = registry.materialize("subject", tmp_path / "here.safetensors")
    digest = registry.version("subject").container
    copy = shutil.copy(object_path(registry.folder, digest), tmp_path / "copy.dsvd")
    with Registry.init(tmp_path / "elsewhere") as other:
        # Another name, file format and order of tensors: the same weights.
        weights = dict(reversed(pair.base.items()))
        base = other.add_base("other", write_pickle(weights, tmp_path / "base.ckpt"))
        with Container(Path(copy)) as container, other.repository.open_base(base) as opened:
            there = write_result(
                container,
                opened,
                tmp_path / "there.safetensors",
                ResultRequest(),
                replace=False,
                progress=silent,
            )
        added = other.add(pair.tuned_file, base="other", name="again", tau=TAU)
        assert added.created
        assert other.verify(deep=True).is_well
    assert there.recorded
    assert there.path.read_bytes() == here.path.read_bytes()
