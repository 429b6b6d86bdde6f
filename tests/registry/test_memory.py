"""Peak memory with the largest layers that there are, in the bound of `benchmarks/memory.py`.

Memory is counted over an interpreter with torch imported; the mapped pages of files are not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.memory import AIM, MIB
from dsvd_registry import Registry

CHILD = Path(__file__).with_name("memory_child.py")
ROOT = Path(__file__).parents[2]
RANK = 16

# Layers of the widths of SDXL's U-Net (feed-forward, attention, convolution), and of FLUX's
# transformer: the fused projection of a single block, and an attention's.
SHAPES = {
    "sdxl": (torch.float16, [(10240, 1280)] * 4 + [(1280, 5120)] * 2 + [(1280, 2560, 3, 3)]),
    "flux": (torch.bfloat16, [(21504, 3072), (3072, 3072)]),
}


def pair(kind: str, folder: Path) -> tuple[Path, Path]:
    """A base of these shapes, and a fine-tune whose delta has 16 components and rounding noise."""
    dtype, shapes = SHAPES[kind]
    generator = torch.Generator().manual_seed(0)
    base, tuned = {}, {}
    for number, shape in enumerate(shapes):
        weights = 0.02 * torch.randn(shape, generator=generator)
        columns = weights[0].numel()
        left = torch.randn(shape[0], RANK, generator=generator)
        right = torch.randn(RANK, columns, generator=generator)
        base[f"layer{number}.weight"] = weights.to(dtype)
        tuned[f"layer{number}.weight"] = (weights + 1e-4 * (left @ right).reshape(shape)).to(dtype)
    files = folder / "base.safetensors", folder / "tuned.safetensors"
    for file, state in zip(files, (base, tuned), strict=True):
        save_file(state, file)
    return files


def peak(verb: str, registry: Registry, file: Path) -> float:
    """The peak memory in MiB."""
    done = subprocess.run(
        [sys.executable, CHILD, verb, registry.folder, file],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(done.stdout) / MIB


@pytest.mark.parametrize("kind", SHAPES)
def test_peak_memory(kind: str, tmp_path: Path) -> None:
    assert AIM.reach is not None
    base, tuned = pair(kind, tmp_path)
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", base, link=True)
    assert peak("add", registry, tuned) < AIM.reach
    assert peak("materialize", registry, tmp_path / "made.safetensors") < AIM.reach


@pytest.mark.parametrize("rank", [8, 80])
def test_a_merge_of_20_subjects(rank: int, tmp_path: Path) -> None:
    """As factors (20 ranks of 8), and where these would be more numbers than the layer (of 80)."""
    assert AIM.reach is not None
    generator = torch.Generator().manual_seed(0)
    base = {"layer.weight": 0.02 * torch.randn(1280, 640, generator=generator)}
    save_file(base, tmp_path / "base.safetensors")
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", tmp_path / "base.safetensors", link=True)
    for subject in range(20):
        tuned = {}
        for name, weights in base.items():
            left = torch.randn(len(weights), rank, generator=generator)
            right = torch.randn(rank, weights[0].numel(), generator=generator)
            tuned[name] = weights + 1e-4 * (left @ right).reshape(weights.shape)
        save_file(tuned, tmp_path / "tuned.safetensors")
        registry.add(tmp_path / "tuned.safetensors", base="base", name=f"s{subject}", tau=0.999)
    registry.close()
    assert peak("merge", registry, tmp_path / "all") < AIM.reach
    with Registry.open(registry.folder) as merged:
        (row,) = merged.report("all").tensors
        assert (row.kind, row.rank) == (("low_rank", 20 * rank) if rank == 8 else ("dense", None))
