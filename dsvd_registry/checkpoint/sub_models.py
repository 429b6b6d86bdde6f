"""Where a folder says that its models' weights are: by its `model_index.json`, or a configuration.

Nothing of a configuration is run, and no class that one names is looked for.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..fs import storage_errors
from .weight_files import DIFFUSERS_STEM, INCOMPLETE, TENSORS, TRANSFORMERS_STEM, is_index

PIPELINE, CONFIGURATION = "model_index.json", "config.json"
OTHER_CONFIGURATIONS = (
    "scheduler_config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)
MAX_JSON_BYTES = 64 << 20  # an index has a line for each of a great many tensors

_STEMS = {
    "diffusers": (DIFFUSERS_STEM, TRANSFORMERS_STEM),
    "transformers": (TRANSFORMERS_STEM, DIFFUSERS_STEM),
}
_WEIGHTLESS = re.compile(
    r".*(Scheduler|Tokenizer|TokenizerFast|TokenizersBackend|FeatureExtractor|Processor"
    r"|ProcessorFast|ProcessorPil|Guidance)"
)
# Files beside the weights of what accelerate, or a Trainer of transformers, saves of a training.
_OF_TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|sampler|dl_state_dict|training_args|random_states|rng_state|"
    r"custom_checkpoint)(_\d+)?\.(bin|pt|pth|pkl|safetensors)"
)


@dataclass(frozen=True)
class SubModel:
    """A folder that has a model's weights; "" is the checkpoint's own.

    `stems`: what weights are called there, the name that a loader looks for first before others.
    `is_needed`: whether its weights must be there.
    """

    folder: str
    stems: tuple[str, ...]
    is_needed: bool = False


@dataclass(frozen=True)
class Plan:
    """What a folder says of itself. `whole`: its folders that have no weights by nature.

    `own`: all of its folders that it names; None where it names none, and each may be one.
    """

    sub_models: tuple[SubModel, ...]
    own: Collection[str] | None
    whole: Collection[str] = ()


@dataclass(frozen=True)
class Component:
    """What model_index.json says of one: the folder it is in, the library and class that load it."""

    name: str
    library: str
    kind: str

    @property
    def has_weights(self) -> bool:
        """False for schedulers, tokenizers and the like, by their class's name."""
        return _WEIGHTLESS.fullmatch(self.kind) is None


def plan_of(files: Mapping[str, Path], folders: Mapping[str, Collection[str]]) -> Plan:
    """By the files at the top. `folders`: the names of the files in each folder.

    Raises `CheckpointError` for a component that is named and has no folder, `StorageError`.
    """
    if PIPELINE in files:
        named = components(read_object(PIPELINE, files[PIPELINE]))
        if not named:
            return Plan(tuple(_wherever_weights_are(folders)), None)
        found = tuple(_of_pipeline(named, folders))
        whole = {one.name for one in named if not one.has_weights}
        return Plan(found, whole | {one.folder for one in found}, whole)
    if CONFIGURATION in files:
        return Plan((_of_configuration(files[CONFIGURATION]),), ())
    states = tuple(_of_training(folders))
    return Plan(states, {one.folder for one in states})


def named_folders(folder: Path) -> list[str]:
    """The folders that the model_index.json of a folder names; none where there is no such file."""
    place = folder / PIPELINE
    if not place.is_file():
        return []
    return [one.name for one in components(read_object(PIPELINE, place))]


def is_of_training(name: str) -> bool:
    """Whether a file is the state of a training: of its optimizer, of its random numbers."""
    return _OF_TRAINING.fullmatch(name) is not None


def has_weights(names: Iterable[str]) -> bool:
    """Whether weights of a model that can be read here are among files, or an index of such."""
    return any(
        (name.endswith(TENSORS) or is_index(name)) and not is_of_training(name) for name in names
    )


def read_object(path: str, place: Path) -> Mapping[str, Any]:
    """The JSON object in a file. Raises `CheckpointError` for anything else, `StorageError`."""
    with storage_errors(place):
        if place.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} has more than {MAX_JSON_BYTES} bytes")
        data = place.read_bytes()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not the JSON that its name promises", INCOMPLETE)
    return value


def components(index: Mapping[str, Any]) -> tuple[Component, ...]:
    """Those that a model_index.json names, without those that it says are left away."""
    found = []
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or len(value) != 2:
            continue
        library, kind = value
        if isinstance(library, str) and isinstance(kind, str) and kind[:1].isupper():
            found.append(Component(name, library, kind))
    return tuple(found)


def _of_pipeline(
    named: Iterable[Component], folders: Mapping[str, Collection[str]]
) -> Iterator[SubModel]:
    """One that has no folder is looked for at the top, as loaders do."""
    tops = {folder.partition("/")[0] for folder in folders if folder}
    beside = folders.get("", ())
    for one in named:
        stems = _STEMS.get(one.library, (DIFFUSERS_STEM, TRANSFORMERS_STEM))
        if one.name not in tops:
            wanted = (CONFIGURATION,) if one.has_weights else OTHER_CONFIGURATIONS
            if not any(name in beside for name in wanted):
                raise CheckpointError(
                    f"{PIPELINE} names {one.name}, and there is no folder of that name",
                    f"{INCOMPLETE} What is not there on purpose has [null, null] in {PIPELINE}.",
                )
            if one.has_weights:
                yield SubModel("", stems, is_needed=True)
        elif one.has_weights:
            is_known = one.library in _STEMS or CONFIGURATION in folders.get(one.name, ())
            yield SubModel(one.name, stems, is_needed=is_known)
            if one.kind.startswith("Multi"):  # such as controlnet, controlnet_1
                numbered = re.compile(re.escape(one.name) + r"_\d+")
                further = sorted(filter(numbered.fullmatch, tops))
                yield from (SubModel(folder, stems, is_needed=True) for folder in further)


def _wherever_weights_are(folders: Mapping[str, Collection[str]]) -> Iterator[SubModel]:
    for folder, names in sorted(folders.items()):
        if has_weights(names):
            yield SubModel(folder, ())


def _of_configuration(place: Path) -> SubModel:
    """The checkpoint's own folder. A configuration that is no JSON says nothing of its weights."""
    configuration: Mapping[str, Any] = {}
    with contextlib.suppress(CheckpointError):
        configuration = read_object(CONFIGURATION, place)
    stems = _STEMS["diffusers" if "_class_name" in configuration else "transformers"]
    own = configuration.get("transformers_weights")
    first = (own.split(".")[0],) if isinstance(own, str) else ()
    return SubModel("", (*first, *stems))


def _of_training(folders: Mapping[str, Collection[str]]) -> Iterator[SubModel]:
    """At the top, where accelerate puts them, and in each folder with a configuration."""
    for folder, names in sorted(folders.items()):
        if "/" not in folder and has_weights(names) and (not folder or CONFIGURATION in names):
            yield SubModel(folder, _STEMS["diffusers"] if folder else ())
