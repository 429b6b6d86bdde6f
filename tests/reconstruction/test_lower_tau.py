"""One container serves every tau up to its own, by the rank that the energy rule gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from registry.conftest import TAU, Pair, header_of, object_path, write_safetensors
from safetensors.torch import load_file

from dsvd_registry import Registry
from dsvd_registry.container.delta_decoder import served_rank
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import LowRankRecord
from dsvd_registry.errors import InvalidArgument, TauNotServed

LOWER = (0.5, 0.2, 0.06)


def rank_of_energy(delta: torch.Tensor, tau: float) -> tuple[int, float]:
    """The smallest t with E(t) >= tau from a full SVD, and how near to tau an E(t) comes."""
    values = torch.linalg.svdvals(delta.double().reshape(len(delta), -1))
    energies = values.cumsum(0) / values.sum()
    return int((energies < tau).sum()) + 1, float((energies - tau).abs().min())


def test_the_error_falls_as_tau_rises(
    trained_registry: Registry, trained: Pair, tmp_path: Path
) -> None:
    changed = [row.name for row in trained_registry.report("subject").tensors if row.error]
    errors = []
    for tau in (TAU, *LOWER):
        path = tmp_path / f"{tau}.safetensors"
        made = trained_registry.materialize("subject", path, tau=tau)
        assert (made.tau, made.recorded) == (tau, tau == TAU)
        assert header_of(path)["__metadata__"]["dsvd.tau"] == repr(tau)
        result = load_file(path)
        assert result.keys() == trained.tuned.keys()
        off = torch.stack(
            [(result[n].double() - trained.tuned[n].double()).norm() for n in changed]
        )
        errors.append(float(off.norm()))
    assert errors[0] == min(errors)
    assert errors == sorted(errors)
    assert errors[-1] > 1.5 * errors[0]


def test_the_ranks_are_those_of_the_spectrum(trained_registry: Registry, trained: Pair) -> None:
    version = trained_registry.version("subject")
    compared = 0
    with Container(object_path(trained_registry.folder, version.container)) as container:
        for index, record in enumerate(container.header.tensors):
            if not isinstance(record, LowRankRecord):
                continue
            delta = trained.tuned[record.name].double() - trained.base[record.name].double()
            for tau in (TAU, *LOWER):
                expected, distance = rank_of_energy(delta, tau)
                if distance > 1e-4:
                    table = container.table(index)
                    assert served_rank(record, table, TAU, tau) == expected, (record.name, tau)
                    compared += 1
    assert compared > 80


def test_the_result_has_that_rank(tmp_path: Path) -> None:
    # Over a base of zeros the result is the delta itself, whose rank can be counted.
    torch.manual_seed(3)
    u, _ = torch.linalg.qr(torch.randn(80, 24, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(120, 24, dtype=torch.float64))
    tuned = (u * 0.9 ** torch.arange(24.0)) @ v.T
    base = write_safetensors({"w": torch.zeros(80, 120)}, tmp_path / "base.safetensors")
    source = write_safetensors({"w": tuned.float()}, tmp_path / "ft.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("zeros", base)
        registry.add(source, base="zeros", name="subject", tau=TAU)
        ranks = {}
        for tau in (TAU, *LOWER):
            with registry.tensors("subject", tau=tau) as tensors:
                values = torch.linalg.svdvals(tensors["w"].double())
            ranks[tau] = int((values > 1e-6).sum())
            expected, distance = rank_of_energy(tuned, tau)
            assert distance > 1e-4
            assert ranks[tau] == expected
        assert len(set(ranks.values())) == 4


@pytest.mark.parametrize("tau", [0.80001, 0.9, 1.0])
def test_a_tau_above_the_stored_one(registry: Registry, tmp_path: Path, tau: float) -> None:
    with pytest.raises(TauNotServed, match=r"the largest that this version serves is 0\.8$"):
        registry.materialize("subject", tmp_path / "out.safetensors", tau=tau)
    with pytest.raises(TauNotServed):
        registry.tensors("subject", tau=tau)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("tau", [0.0, -1.0, 1.5, float("nan"), float("inf")])
def test_what_is_no_tau(registry: Registry, pair: Pair, tmp_path: Path, tau: float) -> None:
    with pytest.raises(InvalidArgument):
        registry.materialize("subject", tmp_path / "out.safetensors", tau=tau)
    with pytest.raises(InvalidArgument):
        registry.tensors("subject", tau=tau)
    with pytest.raises(InvalidArgument):
        registry.add(pair.tuned_file, base="sd15", name="other", tau=tau)
    assert [version.ref for version in registry.versions()] == ["subject@1"]


def test_a_lower_tau_always_gives_the_same_file(registry: Registry, tmp_path: Path) -> None:
    made = [registry.materialize("subject", tmp_path / f"{i}", tau=0.3) for i in range(2)]
    assert made[0].sha256 == made[1].sha256
    assert made[0].sha256 != registry.materialize("subject", tmp_path / "full").sha256


def test_a_prefix_is_as_good_as_a_container_made_at_its_tau(
    trained_registry: Registry, trained: Pair, tmp_path: Path
) -> None:
    """Tensor by tensor, of those that both store as components: 3 % more error at the most."""
    compared = 0
    for tau in LOWER:
        ref = trained_registry.add(trained.tuned_file, base="tiny", name="own", tau=tau).ref
        made_at = {row.name: row for row in trained_registry.report(ref).tensors}
        with trained_registry.tensors("subject", tau=tau) as served:
            for row in trained_registry.report("subject").tensors:
                if row.kind != "low_rank" or made_at[row.name].kind != "low_rank":
                    continue
                tuned = trained.tuned[row.name].double()
                off = float((served[row.name].double() - tuned).norm())
                norm = float((tuned - trained.base[row.name].double()).norm())
                error = made_at[row.name].error
                assert error is not None
                assert off / norm <= 1.03 * error, (row.name, tau)
                compared += 1
    assert compared > 80
