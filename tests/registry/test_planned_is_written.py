"""Every command that writes a file writes the bytes that its header plans: over random versions.

Each file is read again by the format's own library, and by rules of `planned.py`, not by the program.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from layouts.pipelines import models, randomised
from lora.pipelines import PIPELINES
from safetensors.torch import load_file, save_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.checkpoint.checkpoint import TensorInfo
from dsvd_registry.checkpoint.layout import canonical_layout
from dsvd_registry.codec.weights import Memory
from dsvd_registry.errors import InvalidArgument, ResultMismatch, StorageError
from dsvd_registry.fs import new_file, new_folder
from dsvd_registry.reconstruction.file_assembly import whole_file
from dsvd_registry.reconstruction.file_plan import FilePlan, Run

from .planned import check_safetensors

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
OTHERS = (torch.float64, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn)
CAST = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SEEDS = range(6)
LOWER = 0.02  # tau: what a lossless version serves, too


@dataclass(frozen=True)
class Version:
    """A random version: what was added, and how."""

    registry: Registry
    source: dict[str, torch.Tensor]
    is_folder: bool
    lossless: bool


def some_tensors(draw: random.Random, numbers: torch.Generator) -> dict[str, torch.Tensor]:
    found = {}
    for number in range(draw.randint(1, 9)):
        shape = [draw.choice((0, 1, 2, 7, 33)) for _ in range(draw.randint(0, 4))]
        dtype = draw.choice(FLOATS * 2 + OTHERS)
        values = torch.randn(shape, generator=numbers)
        found[f"{draw.choice(('unet.', '', 'é.'))}t{number}"] = values.to(dtype)
    shape = (draw.randint(20, 60), draw.randint(20, 60))
    found["unet.down_blocks.0.matrix"] = torch.randn(shape, generator=numbers)
    return found


def tuned(
    base: dict[str, torch.Tensor], draw: random.Random, numbers: torch.Generator
) -> dict[str, torch.Tensor]:
    """Tensors that are the same, changed, of another dtype or shape, with more rows, or gone."""
    found = {"new": torch.randn(draw.randint(0, 9), generator=numbers)}
    for name, tensor in base.items():
        kind = draw.choice(("same", "change", "change", "dtype", "rows", "shape", "gone"))
        if kind == "gone" and "matrix" not in name:
            continue
        changed = tensor
        if kind != "same" and tensor.dtype in FLOATS:
            noise = 0.01 * torch.randn(tensor.shape, generator=numbers)
            changed = (tensor.float() + noise).to(tensor.dtype)
        if kind == "dtype" and tensor.dtype in FLOATS:
            changed = changed.to(draw.choice(FLOATS))
        if kind == "rows" and tensor.ndim > 1 and len(tensor):
            changed = torch.cat([changed, changed[:1]])
        if kind == "shape":
            changed = tensor.reshape(-1)
        found[name] = changed
    return found


@pytest.fixture(scope="module", params=SEEDS)
def version(request, tmp_path_factory) -> Version:
    draw, numbers = random.Random(request.param), torch.Generator().manual_seed(request.param)
    folder = tmp_path_factory.mktemp("planned")
    is_folder, lossless = request.param % 2 == 1, request.param % 3 > 0
    base = some_tensors(draw, numbers)
    source = tuned(base, draw, numbers)
    places = []
    for name, tensors in (("base", base), ("subject", source)):
        places.append(folder / f"{name}.safetensors")
        if is_folder:
            places[-1] = folder / name
            (folder / name / "unet").mkdir(parents=True)
            (folder / name / "model_index.json").write_text("{}")
            (folder / name / "unet" / "config.json").write_text('{"a": 1}')
            file = folder / name / "unet" / "diffusion_pytorch_model.safetensors"
            save_file(tensors, file)
        else:
            save_file(tensors, places[-1])
    registry = Registry.init(folder / "registry")
    registry.add_base("base", places[0])
    fidelity = {"lossless": True} if lossless else {"tau": draw.choice((0.5, 0.9, 1.0))}
    with one_thread():
        registry.add(places[1], base="base", name="subject", **fidelity)
    return Version(registry, source, is_folder, lossless)


def read_back(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of what was written, each file of which is checked."""
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    assert files
    found: dict[str, torch.Tensor] = {}
    for file in files:
        found |= check_safetensors(file)
    return found


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and torch.equal(
        left.contiguous().reshape(-1).view(torch.uint8),
        right.contiguous().reshape(-1).view(torch.uint8),
    )


@pytest.mark.parametrize("dtype", [None, *CAST])
@pytest.mark.parametrize("tau", [None, LOWER])
def test_materialize(
    version: Version, tmp_path: Path, dtype: str | None, tau: float | None
) -> None:
    written = version.registry.materialize("subject", tmp_path / "out", dtype=dtype, tau=tau)
    found = read_back(written.path)
    sizes = [p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert written.size == (sum(sizes) if version.is_folder else written.path.stat().st_size)
    assert found.keys() == version.source.keys()
    for name, tensor in version.source.items():
        assert found[name].shape == tensor.shape, name
        wanted = CAST[dtype] if dtype is not None and tensor.dtype in FLOATS else tensor.dtype
        assert found[name].dtype == wanted, name
        if version.lossless and tau is None:
            as_cast = tensor.float().to(wanted) if tensor.dtype != wanted else tensor
            assert same(found[name], as_cast), name


@pytest.mark.parametrize("tau", [None, LOWER])
def test_the_path_of_a_version(version: Version, tmp_path: Path, tau: float | None) -> None:
    if version.is_folder:
        with pytest.raises(InvalidArgument, match="the cache holds single files only"):
            version.registry.path("subject", tau=tau, cache=tmp_path)
        assert list(tmp_path.iterdir()) == []
        return
    path = version.registry.path("subject", tau=tau, cache=tmp_path)
    found = read_back(path)
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in version.source.items()}


def test_a_container_and_what_is_beside_it(version: Version, tmp_path: Path) -> None:
    written = version.registry.export_container("subject", tmp_path / "out.dsvd")
    with Registry.init(tmp_path / "other") as other:
        other.add_base("base", version.registry.folder.parent / _name("base", version))
        other.import_container(written.path, name="subject")
        again = other.materialize("subject", tmp_path / "again")
        first = version.registry.materialize("subject", tmp_path / "first")
        assert again.sha256 == first.sha256
    assert written.size == written.path.stat().st_size


def _name(name: str, version: Version) -> str:
    return name if version.is_folder else f"{name}.safetensors"


def test_the_catalog(version: Version, tmp_path: Path) -> None:
    copy = version.registry.backup_catalog(tmp_path / "copy.sqlite")
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        pages, size = (
            database.execute(f"PRAGMA {word}").fetchone()[0] for word in ("page_count", "page_size")
        )
    assert copy.stat().st_size == pages * size


@pytest.fixture(scope="module")
def pipeline_version(tmp_path_factory) -> tuple[Registry, dict[str, torch.Tensor]]:
    """A folder of SD 1 over its base, every tensor of which is another; some in half precision."""
    folder, draw = tmp_path_factory.mktemp("pipeline"), torch.Generator().manual_seed(4)
    pipeline = randomised(PIPELINES["sd1"]())
    pipeline.save_pretrained(folder / "base")
    for model in models(pipeline).values():
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=draw)
    pipeline.unet.half()
    pipeline.save_pretrained(folder / "subject")
    registry = Registry.init(folder / "registry")
    registry.add_base("base", folder / "base")
    with one_thread():
        registry.add(folder / "subject", base="base", lossless=True)
    source: dict[str, torch.Tensor] = {}
    for file in (folder / "subject").rglob("*.safetensors"):
        source |= {f"{file.parent.name}/{n}": t for n, t in load_file(file).items()}
    return registry, source


@pytest.mark.parametrize("dtype", [None, *CAST])
@pytest.mark.parametrize(
    "wish", [{"layout": "single-file"}, {"layout": "diffusers", "like": "base"}]
)
@pytest.mark.parametrize("tau", [None, LOWER])
def test_layouts(pipeline_version, tmp_path: Path, wish, dtype, tau) -> None:
    registry, source = pipeline_version
    written = registry.materialize("subject", tmp_path / "out", dtype=dtype, tau=tau, **wish)
    found = read_back(written.path)
    elements = sum(tensor.numel() for tensor in source.values())
    assert sum(tensor.numel() for tensor in found.values()) == elements
    if tau is None and dtype is None:
        bits = sorted(t.contiguous().view(torch.uint8).sum().item() for t in found.values())
        assert sum(bits) == sum(
            t.contiguous().view(torch.uint8).sum().item() for t in source.values()
        )


@pytest.mark.parametrize("form", ["kohya", "peft", "comfyui"])
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("limit", [None, 2])
def test_lora_exports(pipeline_version, tmp_path: Path, form, dtype, limit) -> None:
    registry, _ = pipeline_version
    written = registry.export_lora(
        "subject", tmp_path / "lora.safetensors", format=form, dtype=dtype, rank_limit=limit
    )
    assert check_safetensors(written.path)
    assert written.size == written.path.stat().st_size


class Made:
    """A tensor of `size` bytes, in runs of 7, whatever a header says of it."""

    def __init__(self, size: int) -> None:
        self._size = size

    def prepare(self) -> None:
        pass

    def runs(self) -> list[Run]:
        starts = range(0, self._size, 7)
        return [Run(start, start + 1, min(7, self._size - start)) for start in starts]

    def fill(self, run: Run, memory: Memory) -> None:
        memory[:] = run.first % 251

    def release(self) -> None:
        pass


@pytest.mark.parametrize("elements", [0, 1, 20, 22, 60])
def test_a_tensor_of_another_size_is_no_file(elements: int) -> None:
    """Here the second of three, of which the header says 21 elements."""
    planned = {"a": 5, "b": 21, "c": 3}
    infos = [TensorInfo(name, "U8", (size,)) for name, size in planned.items()]
    layout = canonical_layout(infos, {})
    sizes = dict(zip(layout.order, layout.sizes, strict=True))

    def plan(made: dict[str, int]) -> FilePlan:
        return FilePlan("a file", layout.prefix, sizes, lambda name: Made(made[name]))

    assert len(whole_file(plan(planned))) == layout.size
    made = planned | {"b": elements}
    with pytest.raises(ResultMismatch, match=f"'b' comes out with {elements} bytes.*21"):
        whole_file(plan(made))


@pytest.mark.parametrize("written", [0, 9, 11])
def test_a_file_of_another_size_gets_no_name(tmp_path: Path, written: int) -> None:
    with (
        pytest.raises(StorageError, match=f"{written} bytes were written, where 10"),
        new_file(tmp_path, 10) as file,
    ):
        file.write(bytes(written))
        file.publish(tmp_path / "out")
    with (
        pytest.raises(StorageError, match="10 were planned"),
        new_folder(tmp_path) as folder,
        folder.new_file("a/b", 10) as file,
    ):
        file.write(bytes(written))
    assert list(tmp_path.iterdir()) == []
