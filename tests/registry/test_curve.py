"""The curve says what `add` makes, and what `materialize --tau` gives, and writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.encoding.request import DEFAULT_TAUS
from dsvd_registry.errors import (
    BaseMismatch,
    CheckpointError,
    InvalidArgument,
    NotFound,
    StorageError,
)
from dsvd_registry.registry import Curve

from .conftest import TAU, Pair, files_in, write_pair, write_safetensors

TAUS = (0.1, 0.5, 0.9)


GROUPS = ("unet.conv_in.", "unet.mid_block.", "unet.conv_out.", "text_encoder.")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory, trained: Pair) -> Pair:
    """Some of the really trained layers: each is encoded many times here."""
    sides = [
        {name: tensor for name, tensor in side.items() if name.startswith(GROUPS)}
        for side in (trained.base, trained.tuned)
    ]
    return write_pair(tmp_path_factory.mktemp("part"), *sides)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, part: Pair) -> Iterator[Registry]:
    """A registry with the base of `part`, to compare curves with additions."""
    with Registry.init(tmp_path_factory.mktemp("workshop") / "registry") as made:
        made.add_base("tiny", part.base_file)
        yield made


@pytest.fixture(scope="module")
def curve(workshop: Registry, part: Pair) -> Curve:
    """The curve of `part`, checked to leave no trace."""
    before = kept_in(workshop.folder)
    with one_thread():
        made = workshop.curve(part.tuned_file, base="tiny", taus=TAUS)
    assert kept_in(workshop.folder) == before
    return made


def kept_in(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without the shared memory of SQLite's readers."""
    return {name: data for name, data in files_in(folder).items() if not name.endswith("-shm")}


def agrees(registry: Registry, curve: Curve, file: Path, name: str) -> None:
    """Check that the curve of `file` has the figures of additions at its taus."""
    for point in curve.points:
        version = registry.add(file, base="tiny", name=name, tau=point.tau).version
        report = registry.report(version.ref)
        assert point.is_served
        assert point.error == pytest.approx(report.error, rel=1e-3)
        assert point.size == pytest.approx(version.size, rel=0.05)
        assert point.parameters == report.stored_parameters
        assert point.uncapped_parameters == report.uncapped_parameters
        ranks = {row.name: (row.rank, row.tau_rank) for row in report.tensors if row.rank}
        assert {one.name: (one.rank, one.tau_rank) for one in point.tensors} == ranks
        means = {row.group: (row.low_rank, row.rank) for row in report.groups if row.low_rank}
        assert {one.group: (one.low_rank, one.rank) for one in point.groups} == means


def test_of_a_file_it_is_what_add_makes(workshop: Registry, part: Pair, curve: Curve) -> None:
    assert (curve.source, curve.base, curve.stored_tau) == (str(part.tuned_file), "tiny", None)
    assert curve.source_size == part.tuned_file.stat().st_size
    assert [point.tau for point in curve.points] == list(TAUS)
    sizes = [point.size or 0 for point in curve.points]
    errors = [point.error or 0 for point in curve.points]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert all(point.parameters == point.uncapped_parameters for point in curve.points)
    agrees(workshop, curve, part.tuned_file, "full")


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 0.1), (torch.bfloat16, 0.5)])
def test_of_half_precision_too(
    workshop: Registry, part: Pair, tmp_path: Path, dtype: torch.dtype, size: float
) -> None:
    weights = {
        name: (part.base[name] + size * (tensor - part.base[name])).to(dtype)
        for name, tensor in part.tuned.items()
    }
    name = str(dtype).rpartition(".")[2]
    file = write_safetensors(weights, tmp_path / f"{name}.safetensors")
    curve = workshop.curve(file, base="tiny", taus=(0.5, 0.9))
    agrees(workshop, curve, file, name)
    kept = workshop.curve(file, base="tiny", taus=(0.5, 0.9), keep_noise=True)
    for point, whole in zip(curve.points, kept.points, strict=True):
        assert whole.parameters == whole.uncapped_parameters
        assert (point.parameters or 0) <= (point.uncapped_parameters or 0)
    point, whole = curve.points[-1], kept.points[-1]
    assert (point.parameters or 0) < (point.uncapped_parameters or 0)
    assert (point.size or 0) < (whole.size or 0)


def test_every_kind_of_record_is_counted(registry: Registry, pair: Pair) -> None:
    curve = registry.curve(pair.tuned_file, base="sd15", taus=[TAU])
    version, report = registry.version("subject"), registry.report("subject")
    (point,) = curve.points
    assert point.size == pytest.approx(version.size, rel=0.05)
    assert point.error == pytest.approx(report.error, rel=1e-3)
    assert point.parameters == report.stored_parameters


def test_its_spectra_are_those_of_the_deltas(part: Pair, curve: Curve) -> None:
    groups = {group.group: group for group in curve.groups}
    assert list(groups) == ["conv_in", "mid", "conv_out", "text encoder"]
    for group in groups.values():
        assert group.places == tuple(sorted(group.places))
        assert group.places[-1] == pytest.approx(1)
        assert group.values == tuple(sorted(group.values, reverse=True))
        assert group.values[0] == pytest.approx(1)
        assert len(group.tau_places) == len(TAUS)
    (name,) = (n for n in part.tuned if n.endswith("conv_out.weight"))
    delta = (part.tuned[name].double() - part.base[name].double()).flatten(1)
    values = torch.linalg.svdvals(delta)
    conv_out = groups["conv_out"]
    assert (conv_out.tensors, conv_out.full_rank) == (1, len(values))
    assert conv_out.values[-1] == pytest.approx(float(values[-1] / values[0]), rel=1e-3)
    energies = values.cumsum(0) / values.sum()
    for tau, place in zip(TAUS, conv_out.tau_places, strict=True):
        assert place == pytest.approx((int((energies < tau).sum()) + 1) / len(values))


def test_of_a_version_it_is_what_materialize_gives(
    trained_registry: Registry, trained: Pair, tmp_path: Path
) -> None:
    before = kept_in(trained_registry.folder)
    curve = trained_registry.curve("subject")
    assert kept_in(trained_registry.folder) == before
    assert (curve.source, curve.base, curve.stored_tau) == ("subject@1", "tiny", TAU)
    assert [point.tau for point in curve.points] == [tau for tau in DEFAULT_TAUS if tau <= TAU]
    version, report = trained_registry.version("subject"), trained_registry.report("subject")
    assert curve.points[-1].size == version.size
    assert curve.points[-1].error == pytest.approx(report.error)
    assert curve.points[-1].parameters == report.stored_parameters
    sizes = [point.size or 0 for point in curve.points]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    norm = distance(trained.base, trained.tuned)
    for point in curve.points:
        out = tmp_path / f"{point.tau}.safetensors"
        trained_registry.materialize("subject", out, tau=point.tau)
        error = distance(load_file(out), trained.tuned) / norm
        assert point.error == pytest.approx(error, rel=0.03)


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    squares = [(left[n].double() - right[n].double()).square().sum() for n in right]
    return float(torch.stack(squares).sum().sqrt())


def test_of_a_version_its_base_is_not_read(pair: Pair, tmp_path: Path) -> None:
    linked = Path(shutil.copy(pair.base_file, tmp_path / "linked.safetensors"))
    with Registry.init(tmp_path / "linked") as registry:
        registry.add_base("linked", linked, link=True)
        registry.add(pair.tuned_file, base="linked", name="subject", tau=TAU)
        expected = registry.curve("subject")
        linked.unlink()
        assert registry.curve("subject") == expected


def test_taus_that_a_version_does_not_store(trained_registry: Registry) -> None:
    low, high = trained_registry.curve("subject", taus=[0.95, 0.3]).points
    assert (low.tau, low.is_served) == (0.3, True)
    assert (high.tau, high.is_served, high.size, high.error) == (0.95, False, None, None)


def test_a_capped_version_tells_what_it_knows(
    workshop: Registry, part: Pair, tmp_path: Path
) -> None:
    weights = {name: tensor.bfloat16() for name, tensor in part.tuned.items()}
    file = write_safetensors(weights, tmp_path / "capped.safetensors")
    workshop.add(file, base="tiny", tau=0.9)
    report = workshop.report("capped")
    points = workshop.curve("capped", taus=(0.06, 0.89, 0.9)).points
    rows = [row for row in report.tensors if row.rank]
    assert report.capped == tuple(row.name for row in rows if (row.rank or 0) < (row.tau_rank or 0))
    assert report.capped
    assert report.uncapped_parameters > report.stored_parameters
    assert points[0].parameters == points[0].uncapped_parameters
    assert points[1].uncapped_parameters is None
    assert any(one.tau_rank is None for one in points[1].tensors)
    assert points[2].uncapped_parameters == report.uncapped_parameters


@pytest.mark.parametrize("taus", [(), (0.0,), (0.5, 1.1), (float("nan"),), (-0.5,)])
def test_what_is_no_row_of_taus(registry: Registry, pair: Pair, taus: tuple[float, ...]) -> None:
    with pytest.raises(InvalidArgument):
        registry.curve(pair.tuned_file, base="sd15", taus=taus)
    with pytest.raises(InvalidArgument):
        registry.curve("subject", taus=taus)


def test_taus_are_ascending_and_each_is_there_once(registry: Registry, pair: Pair) -> None:
    points = registry.curve(pair.tuned_file, base="sd15", taus=[0.5, 0.2, 0.5]).points
    assert [point.tau for point in points] == [0.2, 0.5]


def test_files_that_cannot_be(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("no checkpoint")
    stranger = write_safetensors({"x": torch.ones(3)}, tmp_path / "stranger.safetensors")
    before = kept_in(registry.folder)
    with pytest.raises(CheckpointError):
        registry.curve(text, base="sd15")
    with pytest.raises(BaseMismatch):
        registry.curve(stranger, base="sd15")
    with pytest.raises(StorageError):
        registry.curve(str(tmp_path / "nowhere"), base="sd15")
    with pytest.raises(NotFound):
        registry.curve(pair.tuned_file, base="sd51")
    with pytest.raises(InvalidArgument, match="against which base"):
        registry.curve(pair.tuned_file)
    with pytest.raises(InvalidArgument, match="nowhere"):
        registry.curve(pair.tuned_file, base="sd15", device="nowhere")
    assert kept_in(registry.folder) == before


def test_words_that_may_be_both(
    registry: Registry, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert registry.curve("subject").source == "subject@1"
    with pytest.raises(InvalidArgument, match="its base is known"):
        registry.curve("subject", base="sd15")
    with pytest.raises(InvalidArgument, match="was kept or left out"):
        registry.curve("subject", keep_noise=True)
    with pytest.raises(NotFound, match="no file is named subjct, and there is no model"):
        registry.curve("subjct")
    with pytest.raises(NotFound):
        registry.curve("subject@9")
    with pytest.raises(InvalidArgument, match="no file is named a b"):
        registry.curve("a b")
    shutil.copy(pair.tuned_file, here / "subject")
    shutil.copy(pair.tuned_file, here / "other")
    with pytest.raises(InvalidArgument, match="a file here has that name too") as found:
        registry.curve("subject")
    assert "subject@1" in found.value.hint
    assert registry.curve("subject@1").stored_tau == TAU
    for name in ("subject", "./subject", "other"):
        assert registry.curve(name, base="sd15", taus=[0.1]).stored_tau is None
    with pytest.raises(InvalidArgument, match="against which base"):
        registry.curve("other")
