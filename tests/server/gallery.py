"""A registry as a studio has one, of really trained weights: the pages show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from trained_pair import one_thread, trained_pair

from dsvd_registry import Registry

from .painted import painted

LOOKS = {
    "meadow-light": ("meadow", "meadow light"),
    "charcoal": ("charcoal", "charcoal sketch"),
    "paper-cut": ("paper", "paper cut style"),
    "rex@2": ("sea", "sks dog"),
    "rex": ("dusk", "sks dog"),
}
"""The palette of the pictures and the trigger word, by ref; the merge and `rex@1` have none."""
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Gallery:
    """A registry, and the files that its base and its first model were made from."""

    registry: Path
    base: Path
    tuned: Path


def make_gallery(place: Path) -> Gallery:
    """Five models of one base. `rex` has versions at tau 0.5, 0.8 and 0.9."""
    with one_thread():
        base, tuned = trained_pair()
        gallery = Gallery(
            place / "registry", place / "tiny-sd.safetensors", place / "rex.safetensors"
        )
        save_file(base, gallery.base)
        save_file(tuned, gallery.tuned)
        with Registry.init(gallery.registry) as registry:
            registry.add_base("tiny-sd", gallery.base)
            for number, (name, weight) in enumerate(
                {"meadow-light": 0.6, "charcoal": -0.5, "paper-cut": 1.6}.items()
            ):
                other = place / f"{name}.safetensors"
                save_file(between(base, tuned, weight, number), other)
                registry.add(other, base="tiny-sd", tau=(0.5, 0.35, 0.8)[number], tags=["style"])
            for tau in (0.5, 0.8, 0.9):
                registry.add(gallery.tuned, base="tiny-sd", name="rex", tau=tau)
            registry.set_alias("prod", "rex@2")
            registry.merge([("rex@2", 0.7), ("meadow-light", 0.3)], name="rex-in-the-meadow")
            registry.add_tag("rex", "portrait")
            registry.add_tag("rex@2", "portrait")
            registry.add_tag("rex-in-the-meadow", "portrait")
            for ref, (palette, trigger) in LOOKS.items():
                for number, role in enumerate(("preview", "sample")):
                    file = place / f"{ref.replace('@', '-')}-{role}.webp"
                    file.write_bytes(painted(palette, seed=len(ref) + number))
                    registry.attach(ref, file, role=role)
                registry.set_metadata(ref, {"trigger": trigger, "licence": "CC0-1.0"})
            registry.set_note("rex", "Five photographs of a dog, 12 steps of DreamBooth.")
    return gallery


def between(base: Weights, tuned: Weights, weight: float, seed: int) -> Weights:
    """The base with a part of the trained delta, whose rows are mixed anew: another subject."""
    mix = torch.Generator().manual_seed(seed)
    return {
        name: tensor + weight * (tuned[name] - tensor)[torch.randperm(len(tensor), generator=mix)]
        if tensor.ndim
        else tensor
        for name, tensor in base.items()
    }
