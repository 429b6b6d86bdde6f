"""More tensors than a header holds: an error of the input's kind, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from registry.conftest import Weights, files_in, object_path, write_pickle, write_safetensors

from dsvd_registry import Registry
from dsvd_registry.canonical import MAX_WEIGHT, weight
from dsvd_registry.container.header import header_json
from dsvd_registry.container.reader import Container
from dsvd_registry.errors import CheckpointError

MANY = 12_000


def small(number: int, length: int = 4) -> Weights:
    values = torch.randn(number, length, generator=torch.Generator().manual_seed(1))
    return {f"layers.{i}.weight": values[i].clone() for i in range(number)}


def changed(weights: Weights) -> Weights:
    return {name: tensor + 1e-2 for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, base = tmp_path_factory.mktemp("many"), small(MANY)
    return (
        write_safetensors(base, folder / "base.safetensors"),
        write_safetensors(changed(base), folder / "tuned.safetensors"),
    )


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        yield opened


@pytest.mark.parametrize("settings", [{}, {"lossless": True}, {"budget": 10**6}])
def test_refused_at_once(
    registry: Registry, many_files: tuple[Path, Path], settings: dict[str, float]
) -> None:
    """Seen to fail: everything was encoded, and then "a bug in dsvd: NotCanonical", exit 70."""
    base, tuned = many_files
    registry.add_base("base", base, link=True)
    before, told = files_in(registry.folder / "objects"), set()
    with pytest.raises(CheckpointError, match="has 12000 tensors, more than the header") as caught:
        registry.add(
            tuned,
            base="base",
            progress=lambda *said: told.add(said[0]),
            **settings,  # type: ignore[arg-type]
        )
    assert caught.value.exit_code == 5 and caught.value.hint
    assert told <= {"hashing"}
    assert (registry.versions(), files_in(registry.folder / "objects")) == ([], before)
    found = registry.add_many([tuned], base="base", **settings)  # type: ignore[arg-type]
    assert [file.refusal.exit_code for file in found.files if file.refusal] == [5]
    with pytest.raises(CheckpointError, match="more than the header"):
        registry.curve(tuned, base="base", taus=[0.5])


def test_as_many_that_are_unchanged_are_stored(
    registry: Registry, many_files: tuple[Path, Path], tmp_path: Path
) -> None:
    """The base itself, but for a few: their records are lighter."""
    base, _ = many_files
    registry.add_base("base", base, link=True)
    weights = small(MANY)
    weights["layers.7.weight"] += 0.1
    path = write_safetensors(weights, tmp_path / "x.safetensors")
    report = registry.report(registry.add(path, base="base").ref)
    found = {row.kind: row.tensors for row in report.kinds if row.tensors}
    assert found == {"same": MANY - 1, "dense": 1}


def named(length: int) -> tuple[Weights, Weights]:
    """Low-rank tensors with names of so many wide characters, which weigh the most."""
    numbers = torch.Generator().manual_seed(2)
    base, tuned = {}, {}
    for i in range(400):
        name = f"{i:03}" + "é" * length
        base[name] = torch.randn(8, 8, generator=numbers)
        delta = torch.randn(8, 1, generator=numbers) @ torch.randn(1, 8, generator=numbers)
        tuned[name] = base[name] + 1e-2 * delta
    return base, tuned


def test_what_only_computing_tells(registry: Registry, tmp_path: Path) -> None:
    """A header that would do if all were dense, and does not as low rank: of the same kind."""

    def added(length: int) -> int:
        base, tuned = named(length)
        registry.add_base(f"b{length}", write_safetensors(base, tmp_path / "b.safetensors"))
        path = write_safetensors(tuned, tmp_path / "t.safetensors")
        version = registry.add(path, base=f"b{length}", name=f"m{length}", tau=0.9).version
        with Container(object_path(registry.folder, version.container)) as container:
            assert {type(t).__name__ for t in container.header.tensors} == {"LowRankRecord"}
            return weight(header_json(container.header))

    one, two = added(100), added(200)
    each = (two - one) / 100
    length = int(100 + (MAX_WEIGHT - one) / each)
    assert added(length - 5) < MAX_WEIGHT
    told = []
    base, tuned = named(length + 2)
    registry.add_base("over", write_safetensors(base, tmp_path / "b.safetensors"))
    with pytest.raises(CheckpointError, match="has 400 tensors, more than the header") as caught:
        registry.add(
            write_safetensors(tuned, tmp_path / "over.safetensors"),
            base="over",
            tau=0.9,
            progress=lambda *said: told.append(said[0]),
        )
    assert caught.value.exit_code == 5
    assert "encoding" in told  # or this tests nothing
    assert registry.verify(deep=True).is_well


def test_a_base_of_too_many(registry: Registry, tmp_path: Path) -> None:
    # Of a length at which the file is large enough for the steps of its pickle.
    path = write_pickle(small(36_000, 512), tmp_path / "base.ckpt")
    told = set()
    with pytest.raises(CheckpointError, match="36000 tensors, more than the manifest") as caught:
        registry.add_base("base", path, progress=lambda *said: told.add(said[0]))
    assert (caught.value.exit_code, told, registry.bases()) == (5, set(), [])
