"""Bases of one family that only their weights tell apart, and what was trained from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from layouts.original import State
from layouts.pipelines import models, single_file
from lora.pipelines import LAYERS, PIPELINES
from reconstruction.test_across_layouts import named, trained
from safetensors.torch import save_file

LAYOUTS = ("original", "diffusers")
SIZE = 0.05  # of the random weights that bases begin with


@dataclass(frozen=True)
class Family:
    """One file of each model, by its name and its layout.

    `base` and `sibling` have nothing in common but shapes; `subject` is a fine-tune of `base`, and
    `near` another one, much longer trained, that is a base itself; `near-subject` is a fine-tune of
    it.
    """

    name: str
    files: dict[tuple[str, str], Path]

    def file(self, model: str, layout: str = "original") -> Path:
        return self.files[model, layout]


def made_family(name: str, folder: Path, *, with_near: bool) -> Family:
    files: dict[tuple[str, str], Path] = {}

    def write(model: str, pipeline: DiffusionPipeline) -> None:
        states = {part: module.state_dict() for part, module in models(pipeline).items()}
        for layout, state in (
            ("original", single_file(name, states, LAYERS)),
            ("diffusers", named(states)),
        ):
            files[model, layout] = folder / f"{model}.{layout}.safetensors"
            write_state(state, files[model, layout])

    write("sibling", begun(name, 6))
    base = begun(name, 5)
    write("base", base)
    trained(base)
    write("subject", base)
    if with_near:
        near = begun(name, 5)
        for _ in range(20):
            trained(near)
        write("near", near)
        trained(near)
        write("near-subject", near)
    return Family(name, files)


def begun(family: str, seed: int) -> DiffusionPipeline:
    pipeline = PIPELINES[family]()
    generator = torch.Generator().manual_seed(seed)
    for model in models(pipeline).values():
        for parameter in model.parameters():
            parameter.data.normal_(generator=generator).mul_(SIZE)
    return pipeline


def write_state(state: State, path: Path) -> Path:
    save_file({n: t.detach().contiguous().clone() for n, t in state.items()}, path)
    return path
