from dataclasses import dataclass
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from trained_pair import one_thread

from .original import State
from .pipelines import PIPELINES, folder, models, randomised, single_file


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@dataclass(frozen=True)
class Model:
    """A pipeline, its folder on disk, and its tensors as the two layouts name them."""

    family: str
    pipeline: DiffusionPipeline
    path: Path
    diffusers: State
    original: State


@pytest.fixture(scope="session")
def model_of(tmp_path_factory):
    made = {}

    def get(family: str) -> Model:
        if family not in made:
            pipeline = randomised(PIPELINES[family]())
            path = tmp_path_factory.mktemp(family)
            pipeline.save_pretrained(path)
            states = {name: model.state_dict() for name, model in models(pipeline).items()}
            original = single_file(family, states)
            made[family] = Model(family, pipeline, path, folder(path), original)
        return made[family]

    return get


@pytest.fixture(params=PIPELINES)
def model(request, model_of) -> Model:
    return model_of(request.param)
