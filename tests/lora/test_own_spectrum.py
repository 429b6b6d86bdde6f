"""A LoRA's factors are stored as they are, and tau refers to the spectrum of their product."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dsvd_registry.codec.encode_lora_factors import encode_factors
from dsvd_registry.codec.encode_tau import EncodeRequest
from dsvd_registry.codec.encoded import LowRank, Same
from dsvd_registry.codec.integer_grid import OutsideGrid
from dsvd_registry.codec.product_spectrum import factor_spectrum, product_distance

from .small import (
    Pair,
    base_weights,
    check_products,
    exact,
    kohya,
    pairs,
    registry_of,
    stored_products,
    weights,
)
from .training import save

TAUS = (0.9, 0.5, 0.2)


class Shapes(TorchDispatchMode):
    """A recorder of the operands of every decomposition."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if "linalg_" in name and "norm" not in name:
            self.seen += [(name, tuple(a.shape)) for a in args if isinstance(a, torch.Tensor)]
        return func(*args, **(kwargs or {}))


def factors(rows: int, rank: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(rows + rank + columns)
    falling = 2.0 ** -torch.arange(rank, dtype=torch.float64)
    up = torch.randn(rows, rank, generator=numbers, dtype=torch.float64)
    return up * falling, torch.randn(rank, columns, generator=numbers, dtype=torch.float64)


@pytest.mark.parametrize(("rows", "columns"), [(300, 200), (200, 300), (1280, 3)])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_spectrum_is_that_of_the_product(rows: int, rank: int, columns: int) -> None:
    up, down = factors(rows, rank, columns)
    found = factor_spectrum(up, down)
    expected = torch.linalg.svdvals(up @ down)
    count = min(rank, rows, columns)
    assert found.singular_values.shape == (count,)
    torch.testing.assert_close(
        found.singular_values, expected[:count], rtol=1e-12, atol=1e-12 * float(expected[0])
    )
    assert float(expected[count:].sum()) < 1e-9
    a, b = found.balanced(count)
    torch.testing.assert_close(a.T @ b, up @ down, rtol=0, atol=1e-12 * float(expected[0]))


def test_no_full_matrix_is_decomposed() -> None:
    rows, columns, rank = 900, 700, 8
    up, down = factors(rows, rank, columns)
    base = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    with Shapes() as shapes:
        encoded = encode_factors(base, up, down, EncodeRequest(1.0, 0.015))
    assert isinstance(encoded, LowRank)
    assert {name for name, _ in shapes.seen} == {"linalg_qr", "_linalg_svd"}
    assert {min(shape) for _, shape in shapes.seen} == {rank}


def test_more_components_than_the_matrix_has_rows() -> None:
    """A LoRA of rank 16 on `conv_out`, which has four rows."""
    up, down = factors(4, 16, 72)
    encoded = encode_factors(torch.zeros(4, 72), up, down, EncodeRequest(1.0, 0.015))
    assert isinstance(encoded, LowRank)
    assert len(encoded.singular_values) == 4
    a, b = factor_spectrum(up, down).balanced(4)
    assert product_distance(a, b, encoded.components) <= 1e-5 * float((up @ down).norm())


def test_a_pair_of_less_than_its_own_rank() -> None:
    up, down = factors(30, 2, 40)
    encoded = encode_factors(
        torch.zeros(30, 40),
        torch.cat([up, up], 1),
        torch.cat([down, down]),
        EncodeRequest(1.0, 0.015),
    )
    assert isinstance(encoded, LowRank)
    assert (encoded.tau_rank, encoded.noise_rank) == (2, 2)


def test_numbers_outside_the_grid() -> None:
    base, (up, down) = torch.zeros(6, 5), factors(6, 2, 5)
    settings = EncodeRequest(1.0, 0.015)
    assert encode_factors(base, 0 * up, down, settings) == Same()
    for bad in (float("nan"), float("inf"), 1e300, 1e-200):
        with pytest.raises(OutsideGrid):
            encode_factors(base, up * bad, down * 1e30, settings)


@pytest.fixture(scope="module")
def layers() -> Mapping[tuple[str, str], Pair]:
    """Layers of a LoRA of rank 8, or of the full rank, with falling singular values."""
    found = {}
    for (model, path), pair in pairs().items():
        rows, columns = pair.up.shape[0], pair.down.shape[1]
        up, down = factors(rows, min(8, rows, columns), pair.down[0].numel())
        kernel = pair.down.shape[2:]
        found[model, path] = Pair(
            0.1 * up.float().reshape(*up.shape, *(1 for _ in kernel)),
            0.1 * down.float().reshape(len(down), columns, *kernel),
            0.5,
        )
    return found


def spectra(layers: Mapping[tuple[str, str], Pair]) -> dict[str, torch.Tensor]:
    return {
        f"{model}.{path}.weight": torch.linalg.svdvals(pair.product)
        for (model, path), pair in layers.items()
    }


def rank_at(values: torch.Tensor, tau: float) -> int:
    return int(((values.cumsum(0) / values.sum()) < tau).sum()) + 1


@pytest.mark.parametrize("tau", TAUS)
def test_tau_is_of_the_loras_own_spectrum(
    tau: float, layers: Mapping[tuple[str, str], Pair], tmp_path: Path
) -> None:
    base = base_weights()
    with registry_of(tmp_path, base) as registry:
        added = registry.add(save(kohya(layers), tmp_path / "l.safetensors"), base="sd15", tau=tau)
        report = registry.report(added.ref)
        assert report.tau == tau
        rows = {row.name: row for row in report.tensors if row.kind != "same"}
        stored = stored_products(registry, "l")
        sums = exact(base, layers)
        for name, values in spectra(layers).items():
            rank = rank_at(values, tau)
            assert (rows[name].kind, rows[name].rank) == ("low_rank", rank)
            change = (sums[name] - base[name].double()).flatten(1)
            truncation = float(values[rank:].norm())
            off = float((stored[name] - change).norm())
            # The grid adds 1.5 % to what truncation leaves.
            assert truncation * 0.999 <= off <= 1.015 * truncation * 1.001 + 1e-5 * change.norm()
            assert rows[name].error == pytest.approx(off / float(change.norm()), rel=0.01, abs=1e-4)


def test_a_whole_version_serves_each_lower_tau(
    layers: Mapping[tuple[str, str], Pair], tmp_path: Path
) -> None:
    base = base_weights()
    with registry_of(tmp_path, base) as registry:
        registry.add(save(kohya(layers), tmp_path / "l.safetensors"), base="sd15")
        check_products(registry, "l", layers)
        assert registry.version("l").summary["tau"] == 1
        for tau in TAUS:
            made = registry.materialize("l", tmp_path / f"{tau}.safetensors", tau=tau)
            assert made.tau == tau
            with registry.tensors("l", tau=tau) as tensors:
                for name, values in spectra(layers).items():
                    delta = (tensors[name].double() - base[name].double()).flatten(1)
                    found = torch.linalg.svdvals(delta)
                    rank = rank_at(values, tau)
                    rounding = 2e-7 * float(base[name].norm())
                    torch.testing.assert_close(
                        found[:rank], values[:rank], rtol=1e-4, atol=rounding
                    )
                    assert float(found[rank:].norm()) <= 1e-4 * float(values.norm()) + rounding


@pytest.mark.parametrize("format", ["kohya", "peft"])
def test_lora_in_lora_out(
    format: str, layers: Mapping[tuple[str, str], Pair], tmp_path: Path
) -> None:
    """Adding, exporting in single precision and adding again keeps the product of every module."""
    with registry_of(tmp_path, base_weights()) as registry:
        registry.add(save(kohya(layers), tmp_path / "l.safetensors"), base="sd15")
        out = tmp_path / "out.safetensors"
        registry.export_lora("l", out, format=format, dtype="fp32")
        registry.add(out, base="sd15", name="again")
        check_products(registry, "again", layers, error=2e-5)
        for name, tensor in weights(registry, "again").items():
            assert tensor.shape == base_weights()[name].shape


def test_recognised_when_it_is_added_again(tmp_path: Path) -> None:
    with registry_of(tmp_path, base_weights()) as registry:
        file = save(kohya(pairs()), tmp_path / "lora.safetensors")
        first = registry.add(file, base="sd15")
        assert (first.ref, first.created) == ("lora@1", True)
        for tau in (None, 1.0):  # 1 is what nothing asked for is
            again = registry.add(file, base="sd15", tau=tau)
            assert (again.ref, again.created) == ("lora@1", False)
        copy = save(kohya(pairs()), tmp_path / "copy" / "lora.safetensors")
        assert not registry.add(copy, base="sd15").created
        # Under another name it is one container more in nothing.
        twin = registry.add(file, base="sd15", name="twin")
        assert twin.created
        assert twin.version.container == first.version.container
        assert registry.add(file, base="sd15", tau=0.5).ref == "lora@2"
        assert first.version.source.format == "lora"


def test_a_portable_container_of_a_lora(tmp_path: Path) -> None:
    layers = pairs()
    with registry_of(tmp_path, base_weights()) as registry:
        added = registry.add(save(kohya(layers), tmp_path / "lora.safetensors"), base="sd15")
        registry.export_container(added.ref, tmp_path / "lora.dsvd")
        taken = registry.import_container(tmp_path / "lora.dsvd", name="taken")
        assert taken.version.container == added.version.container
        check_products(registry, "taken", layers)
