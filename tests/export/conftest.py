"""Small pipelines of every family, before and after a change of all parameters, in a registry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from layouts.original import State
from layouts.pipelines import models, randomised, single_file
from lora.pipelines import LAYERS, PIPELINES
from safetensors.torch import save_file
from trained_pair import one_thread

from dsvd_registry import Registry

from .transformers import TRANSFORMERS

MADE = PIPELINES | TRANSFORMERS
TAU = 0.9


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@dataclass(frozen=True)
class Subject:
    """A version in a registry, and the pipeline that it changes.

    `base` and `version`: tensors by the names of the version's layout.
    """

    family: str
    layout: str
    registry: Registry
    base: State
    version: State
    folder: Path
    _pipeline: DiffusionPipeline

    def pipeline(self) -> DiffusionPipeline:
        """A new pipeline of the base."""
        return copy.deepcopy(self._pipeline)

    def named(self, pipeline: DiffusionPipeline) -> State:
        """The tensors of a pipeline by the names of the version."""
        return in_layout(self.family, self.layout, pipeline)

    def expected(self, left_out: set[str]) -> State:
        """The version's tensors, and the base's for those left out."""
        return {
            name: self.base[name] if name in left_out else tensor
            for name, tensor in self.version.items()
        }


def in_layout(family: str, layout: str, pipeline: DiffusionPipeline) -> State:
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    if layout == "original":
        found = single_file(family, states, LAYERS)
    else:
        found = {f"{part}.{name}": t for part, state in states.items() for name, t in state.items()}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def changed(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    """Change every parameter: matrices by a falling spectrum of their own rank, and some noise."""
    generator = torch.Generator().manual_seed(11)
    tuned = copy.deepcopy(pipeline)
    for name, model in models(tuned).items():
        if name == "vae":
            continue
        for number, parameter in enumerate(model.parameters()):
            change = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                rows, columns, rank = len(parameter), parameter[0].numel(), 1 + number % 5
                left = torch.randn(rows, rank, generator=generator) / (1 + torch.arange(rank))
                right = torch.randn(rank, columns, generator=generator)
                change = (left @ right + 0.01 * change.reshape(rows, columns)).view_as(parameter)
            parameter.data += 0.02 * change
    return tuned


@pytest.fixture(scope="session")
def subject_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """The subject of a family.

    U-Nets are in the original layout, where layers have other names and OpenCLIP's are fused. The
    simpler case, diffusers' layout, is in `test_lora_there_and_back`.
    """
    made: dict[str, Subject] = {}

    def get(family: str) -> Subject:
        layout = "original" if family in PIPELINES else "diffusers"
        if family not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{layout}")
            pipeline = randomised(MADE[family]())
            base = in_layout(family, layout, pipeline)
            save_file(base, folder / "base.safetensors")
            save_file(in_layout(family, layout, changed(pipeline)), folder / "subject.safetensors")
            registry = Registry.init(folder / "registry")
            registry.add_base("base", folder / "base.safetensors")
            registry.add(folder / "subject.safetensors", base="base", tau=TAU)
            with registry.tensors("subject") as tensors:
                version = {name: tensors[name].clone() for name in tensors}
            made[family] = Subject(family, layout, registry, base, version, folder, pipeline)
        return made[family]

    return get


@pytest.fixture(params=PIPELINES)
def subject(request: pytest.FixtureRequest, subject_of: Callable[[str], Subject]) -> Subject:
    return subject_of(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lora.safetensors"
