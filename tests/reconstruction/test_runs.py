"""Results have the same bytes, however they are cut into runs; a run's memory is reused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from registry.conftest import ROOT, Pair, bits, write_safetensors
from spec.readers import golden_digests, package_gives_files, valid_files

from dsvd_registry import Registry
from dsvd_registry.checkpoint.checkpoint import Copier, Memory
from dsvd_registry.codec import exact_product
from dsvd_registry.container.records import BaseTensor, View
from dsvd_registry.errors import BaseMismatch
from dsvd_registry.layouts import ViewedTensors
from dsvd_registry.reconstruction import file_assembly
from dsvd_registry.reconstruction.base_view import ViewedBase
from dsvd_registry.reconstruction.file_assembly import assembled, nowhere
from dsvd_registry.reconstruction.file_plan import Run

VECTORS = ROOT / "spec" / "vectors"
VALID = json.loads((VECTORS / "vectors.json").read_text())["valid"]


def cut_into(monkeypatch: pytest.MonkeyPatch, elements: int, buffer: int, at_once: int) -> None:
    """Runs of so many elements; memory of so many bytes for a run, and for all under way."""
    monkeypatch.setattr(exact_product, "TILE_ELEMENTS", elements)
    monkeypatch.setattr(file_assembly, "LEAST_BYTES", buffer)
    monkeypatch.setattr(file_assembly, "MOST_BYTES", 2 * buffer)
    monkeypatch.setattr(file_assembly, "BYTES_AT_ONCE", at_once)


@pytest.mark.parametrize("elements", [1, 2, 5, 1000])
@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["name"])
def test_golden_results_do_not_show_their_runs(
    vector: dict, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors cover every kind, dtype and view, new rows, scalars and empty tensors."""
    cut_into(monkeypatch, elements, 16, 64)
    for tau, digests in golden_digests(vector):
        made = package_gives_files(*valid_files(vector["name"]), tau)
        found = {path: hashlib.sha256(data).hexdigest() for path, data in made.items()}
        assert found == digests


@pytest.mark.parametrize("elements", [1, 31, 400, 1 << 20])
def test_awkward_shapes(elements: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tall, wide, one row longer than a run, one column, new rows: as a file and one by one."""
    make = torch.Generator().manual_seed(3)
    shapes = {
        "tall": (3000, 2),
        "wide": (2, 3000),
        "one_row": (1, 5000),
        "one_column": (5000, 1),
        "conv": (12, 5, 3, 3),
        "odd": (97, 89),
        "vector": (5000,),
        "scalar": (),
    }
    base = {name: torch.randn(shape, generator=make) for name, shape in shapes.items()}
    tuned = {}
    for name, weights in base.items():
        rows = weights.reshape(len(weights) if weights.ndim else 1, -1)
        delta = torch.randn(rows.shape[0], 1, generator=make) @ torch.randn(
            1, rows.shape[1], generator=make
        )
        tuned[name] = weights + 1e-3 * delta.reshape(weights.shape)
    base["cast"], tuned["cast"] = base["odd"] * 2, (base["odd"] * 2).half()
    base["kept"] = tuned["kept"] = base["odd"] * 3
    base["added"] = torch.randn(60, 50, generator=make).bfloat16()
    tuned["added"] = torch.cat([base["added"] * 1.01, base["added"][:7]])
    tuned["new"] = torch.arange(5000)
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", write_safetensors(base, tmp_path / "base.safetensors"))
        source = write_safetensors(tuned, tmp_path / "tuned.safetensors")
        registry.add(source, base="base", name="subject", tau=0.9)
        kinds = {row.kind for row in registry.report("subject").tensors}
        assert kinds == {"low_rank", "dense", "same", "raw"}
        whole = registry.materialize("subject", tmp_path / "whole")
        lower = registry.materialize("subject", tmp_path / "lower", tau=0.5)
        with registry.tensors("subject") as tensors:
            wanted = {name: bits(tensor) for name, tensor in tensors.items()}
        cut_into(monkeypatch, elements, 64, 1000)
        assert registry.materialize("subject", tmp_path / "again").sha256 == whole.sha256
        again = registry.materialize("subject", tmp_path / "lower again", tau=0.5)
        assert again.sha256 == lower.sha256
        with registry.tensors("subject") as tensors:
            assert {name: bits(tensor) for name, tensor in tensors.items()} == wanted
        assert registry.verify(deep=True).is_well


def test_differences_do_not_show_their_runs(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = registry.diff_base("subject")
    cut_into(monkeypatch, 50, 64, 1000)
    found = registry.diff_base("subject")
    assert [row.name for row in found] == [row.name for row in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.change == pytest.approx(other.change, rel=1e-9)
        assert one.cosine == pytest.approx(other.cosine, rel=1e-9)


def test_differences_are_those_of_the_weights(registry: Registry, pair: Pair) -> None:
    rows = registry.diff_base("subject")
    assert {"unet.down_blocks.0.low_rank", "unet.conv_in.dense"} <= {row.name for row in rows}
    with registry.tensors("subject") as tensors:
        for row in rows:
            before = pair.base[row.name].double()
            if not before.numel():
                continue
            after = tensors[row.name].double()[: len(before)] if before.ndim else tensors[row.name]
            change = float((after - before).norm() / before.norm())
            assert row.change == pytest.approx(change, rel=1e-9, abs=1e-15), row.name


class Counting:
    """A tensor of bytes that count up, in runs of given sizes; it keeps what was asked of it."""

    def __init__(self, start: int, sizes: list[int], error: Exception | None = None) -> None:
        self.start, self.sizes, self.error = start, sizes, error
        self.steps: list[str] = []

    def prepare(self) -> None:
        self.steps.append("prepare")
        if self.error:
            raise self.error

    def runs(self):
        for number, size in enumerate(self.sizes):
            yield Run(number, number + 1, size)

    def fill(self, run: Run, memory: Memory) -> None:
        first = self.start + sum(self.sizes[: run.first])
        memory[:] = np.arange(first, first + run.nbytes) % 256
        self.steps.append("fill")

    def release(self) -> None:
        self.steps.append("release")


def test_runs_come_together_again() -> None:
    tensors = [Counting(0, [5, 0, 7]), Counting(12, []), Counting(12, [100_000]), Counting(12, [1])]
    tensors[3].start = 100_012
    placed = bytearray(100_020)

    def place(position: int, run: memoryview) -> None:
        placed[position : position + len(run)] = run

    with assembled(tensors, 7, place) as made:
        data = b"".join(bytes(view) for view in made)
    assert placed == bytes(7) + data
    assert data == (np.arange(100_013) % 256).astype(np.uint8).tobytes()
    assert [tensor.steps for tensor in tensors] == [
        ["prepare", "fill", "fill", "release"],
        ["prepare", "release"],
        ["prepare", "fill", "release"],
        ["prepare", "fill", "release"],
    ]


def test_a_view_is_gone_when_the_next_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can read what has become of its memory."""
    cut_into(monkeypatch, 1, 8, 16)
    tensor = Counting(0, [8] * 1000)
    places = set()
    with assembled([tensor], 0, nowhere) as made:
        before = next(made)
        for view in made:
            with pytest.raises(ValueError, match="released"):
                bytes(before)
            places.add(np.frombuffer(view, np.uint8).__array_interface__["data"][0])
            before = view
    assert len(places) <= 4


@pytest.mark.parametrize("sizes", [[], [5, 5]])
def test_what_cannot_be_prepared(sizes: list[int]) -> None:
    """The error is raised even for a tensor without bytes."""
    tensors = [Counting(0, [3]), Counting(3, sizes, KeyError("damaged")), Counting(0, [1])]
    taken = []
    with pytest.raises(KeyError, match="damaged"), assembled(tensors, 0, nowhere) as made:
        for view in made:
            taken.append(bytes(view))
    assert taken == [b"\0\1\2"]


def test_what_cannot_be_placed() -> None:
    def place(position: int, run: memoryview) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"), assembled([Counting(0, [3])], 0, place) as made:
        next(made)


class Held:
    """A base in memory."""

    def __init__(self, data: dict[str, bytes]) -> None:
        self.data = data
        self.released: list[str] = []

    def check_suits(self, wanted: object, digest: str) -> None:
        raise NotImplementedError

    def read(self, tensor: BaseTensor) -> bytes:
        if tensor.name not in self.data:
            raise BaseMismatch(tensor.name)
        return self.data[tensor.name]

    def copier(self, tensor: BaseTensor) -> Copier:
        data = np.frombuffer(self.read(tensor) + b"\0", np.uint8)

        def copy(first: int, memory: Memory) -> None:
            assert 0 <= first < first + len(memory) < len(data)
            memory[:] = data[first : first + len(memory)]

        return copy

    def release(self, tensor: BaseTensor) -> None:
        self.released.append(tensor.name)


VIEWS = {
    "reshape": (View(), [(6, 4)], lambda one: one),
    "transpose": (View("transpose"), [(6, 4)], lambda one: one.T),
    "slice": (View("slice", 2, 3), [(6, 4)], lambda one: one[2:5]),
    "concatenate": (
        View("concatenate"),
        [(6, 4), (0, 4), (1, 4), (5, 4)],
        lambda *all_of: np.concatenate(all_of),
    ),
}


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("dtype", ["U8", "F16", "F32", "F64"])
def test_any_run_of_a_view(kind: str, dtype: str) -> None:
    view, shapes, seen = VIEWS[kind]
    width = {"U8": 1, "F16": 2, "F32": 4, "F64": 8}[dtype]
    random = np.random.default_rng(1)
    arrays = [random.integers(0, 256, (*shape, width)).astype(np.uint8) for shape in shapes]
    names = [str(number) for number in range(len(arrays))]
    tensors = tuple(
        BaseTensor(name, dtype, shape, "") for name, shape in zip(names, shapes, strict=True)
    )
    words = [array.view(f"V{width}")[..., 0] for array in arrays]
    wanted = np.ascontiguousarray(seen(*words)).tobytes()
    base = Held({n: array.tobytes() for n, array in zip(names, arrays, strict=True)})
    viewed = ViewedBase(ViewedTensors(tensors, view), base)
    for first in range(len(wanted)):
        for size in (0, 1, 3, 17, len(wanted)):
            memory = np.empty(min(size, len(wanted) - first), np.uint8)
            viewed.copy(first, memory)
            assert memory.tobytes() == wanted[first : first + size]
    viewed.release()
    assert base.released == names


def test_a_view_of_what_is_lacking() -> None:
    with pytest.raises(BaseMismatch, match="gone"):
        ViewedBase(ViewedTensors((BaseTensor("gone", "U8", (1,), ""),)), Held({}))
