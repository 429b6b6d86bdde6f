from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from trained_pair import one_thread

from dsvd_registry import Registry

from .studio import Studio, studio

FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16
# Family, layouts and dtypes of the base and of the subjects.
STUDIOS = {
    "sd1": ("sd1", "original", "diffusers", (FP32, FP32)),
    "sd1 in half precision": ("sd1", "diffusers", "diffusers", (FP16, BF16)),
    "sd2": ("sd2", "diffusers", "original", (FP32, FP32)),
    "sdxl": ("sdxl", "original", "original", (FP32, FP16)),
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def studio_of(tmp_path_factory) -> Callable[[str], Studio]:
    made: dict[str, Studio] = {}

    def get(key: str) -> Studio:
        if key not in made:
            family, base, tuned, dtypes = STUDIOS[key]
            with one_thread():
                made[key] = studio(family, base, tuned, dtypes, tmp_path_factory.mktemp("studio"))
        return made[key]

    return get


@pytest.fixture
def sd1(studio_of) -> Studio:
    return studio_of("sd1")


@pytest.fixture
def own(sd1: Studio, tmp_path: Path) -> Iterator[Studio]:
    """A studio whose registry and base file the test may change."""
    root = tmp_path / "own"
    shutil.copytree(sd1.registry.folder, root / "registry")
    with Registry.open(root / "registry") as registry:
        yield Studio(sd1.family, sd1.folder, registry)
