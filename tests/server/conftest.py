"""A registry with a pipeline, its fine-tunes as a folder and as a file, and servers of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from layouts.pipelines import models, randomised
from layouts.training import trained
from registry.hub_folders import UNET, smallest_pipeline
from small_pictures import picture
from trained_pair import one_thread

from dsvd_registry import Registry

from .running import RunningServer, serving


@dataclass(frozen=True)
class Shelf:
    """A registry and what went into it.

    `exact` is the folder `tuned`, lossless. `subject@1` and `subject@2` are `tuned` at tau 0.5 and
    0.9; `subject@prod` is the first. `single` is `tuned_file`, lossless. The base is
    `pipeline`, the folder `base`.
    """

    registry: Path
    base: Path
    tuned: Path
    base_file: Path
    tuned_file: Path
    made: Path

    def truth(self, ref: str) -> Path:
        """The folder or file that `dsvd materialize` writes of a lossy version."""
        place = self.made / ref
        if not place.exists():
            with Registry.open(self.registry) as registry:
                registry.materialize(ref, place)
        return place


def make_shelf(place: Path) -> Shelf:
    with one_thread():
        pipeline = smallest_pipeline()
        with torch.no_grad():
            for model in models(randomised(pipeline)).values():
                for parameter in model.parameters():
                    parameter.mul_(0.05)
        tuned = copy.deepcopy(pipeline)
        trained(tuned)
        shelf = Shelf(
            place / "registry",
            place / "base",
            place / "tuned",
            place / f"base/unet/{UNET}.safetensors",
            place / f"tuned/unet/{UNET}.safetensors",
            place / "made",
        )
        shelf.made.mkdir()
        pipeline.save_pretrained(shelf.base)
        tuned.save_pretrained(shelf.tuned)
        with Registry.init(shelf.registry) as registry:
            registry.add_base("pipeline", shelf.base)
            registry.add(shelf.tuned, base="pipeline", name="exact", lossless=True)
            (place / "preview.png").write_bytes(picture())
            registry.attach("exact", place / "preview.png")
            registry.add(shelf.tuned, base="pipeline", name="subject", tau=0.5)
            registry.add(shelf.tuned, base="pipeline", name="subject", tau=0.9)
            registry.set_alias("prod", "subject@1")
            registry.add(shelf.tuned_file, base="pipeline", name="single", lossless=True)
            registry.add(shelf.tuned_file, base="pipeline", name="odd--name.git", tau=0.9)
    return shelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return make_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="session")
def server(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests that leave it as it was."""
    with serving(shelf.registry, tmp_path_factory.mktemp("server")) as running:
        yield running
