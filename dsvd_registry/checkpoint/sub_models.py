"""The folders of a checkpoint that have weights, by its `model_index.json` or configuration.

Nothing in a configuration is executed, and no class that it names is imported.
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
MAX_JSON_BYTES = 64 << 20  # an index has a line for each of many tensors

_STEMS = {
    "diffusers": (DIFFUSERS_STEM, TRANSFORMERS_STEM),
    "transformers": (TRANSFORMERS_STEM, DIFFUSERS_STEM),
}
_WEIGHTLESS = re.compile(
    r".*(Scheduler|Tokenizer|TokenizerFast|TokenizersBackend|FeatureExtractor|Processor"
    r"|ProcessorFast|ProcessorPil|Guidance)"
)
# Files that accelerate, or a Trainer of transformers, saves next to the weights in a training.
_OF_TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|sampler|dl_state_dict|training_args|random_states|rng_state|"
    r"custom_checkpoint)(_\d+)?\.(bin|pt|pth|pkl|safetensors)"
)


@dataclass(frozen=True)
class SubModel:
    """A folder with a model's weights; "" is the checkpoint's own.

    `stems`: the names of weights there, in the order in which a loader looks for them.
    `is_needed`: the weights must be there.
    """

    folder: str
    stems: tuple[str, ...]
    is_needed: bool = False


@dataclass(frozen=True)
class Plan:
    """The parts of a checkpoint that its folder names.

    `own`: all folders that it names; None where it names none, and any may be a part. `whole`: the
    folders of components that have no weights.
    """

    sub_models: tuple[SubModel, ...]
    own: Collection[str] | None
    whole: Collection[str] = ()


@dataclass(frozen=True)
class Component:
    """A component in model_index.json: its folder, and the library and class that load it."""

    name: str
    library: str
    kind: str

    @property
    def has_weights(self) -> bool:
        """Return False for schedulers, tokenizers and the like, by the class's name."""
        return _WEIGHTLESS.fullmatch(self.kind) is None


def plan_of(files: Mapping[str, Path], folders: Mapping[str, Collection[str]]) -> Plan:
    """The parts that the files at the top name. `folders`: the names of the files in each folder.

    Raises:
        CheckpointError: for a named component that has no folder.
        StorageError: if a file cannot be read.
    """
    if PIPELINE in files:
        named = components(read_object(PIPELINE, files[PIPELINE]))
        if not named:
            return Plan(tuple(_wherever_weights_are(folders)), None)
        sub_models = tuple(_of_pipeline(named, folders))
        whole = {one.name for one in named if not one.has_weights}
        return Plan(sub_models, whole | {one.folder for one in sub_models}, whole)
    if CONFIGURATION in files:
        return Plan((_of_configuration(files[CONFIGURATION]),), ())
    states = tuple(_of_training(folders))
    return Plan(states, {one.folder for one in states})


def named_folders(folder: Path) -> list[str]:
    """The folders that a folder's model_index.json names; none if there is no such file."""
    place = folder / PIPELINE
    if not place.is_file():
        return []
    return [one.name for one in components(read_object(PIPELINE, place))]


def is_of_training(name: str) -> bool:
    """Return whether a file is the state of a training, such as its optimizer or random numbers."""
    return _OF_TRAINING.fullmatch(name) is not None


def has_weights(names: Iterable[str]) -> bool:
    """Return whether the files include readable weights of a model, or an index of such."""
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
        raise CheckpointError(f"{path} is not a JSON object", INCOMPLETE)
    return value


def components(index: Mapping[str, Any]) -> tuple[Component, ...]:
    """The components that a model_index.json names, without those that it declares absent."""
    named = []
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or len(value) != 2:
            continue
        library, kind = value
        if isinstance(library, str) and isinstance(kind, str) and kind[:1].isupper():
            named.append(Component(name, library, kind))
    return tuple(named)


def _of_pipeline(
    named: Iterable[Component], folders: Mapping[str, Collection[str]]
) -> Iterator[SubModel]:
    """The sub-models of a pipeline. One without a folder is looked for at the top, as loaders do."""
    tops = {folder.partition("/")[0] for folder in folders if folder}
    top_files = folders.get("", ())
    for one in named:
        stems = _STEMS.get(one.library, (DIFFUSERS_STEM, TRANSFORMERS_STEM))
        if one.name not in tops:
            wanted = (CONFIGURATION,) if one.has_weights else OTHER_CONFIGURATIONS
            if not any(name in top_files for name in wanted):
                raise CheckpointError(
                    f"{PIPELINE} names {one.name}, and there is no folder of that name",
                    f"{INCOMPLETE} A component left out on purpose has [null, null] in {PIPELINE}.",
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
    """The checkpoint's own folder. A configuration that is no JSON is taken as an empty one."""
    configuration: Mapping[str, Any] = {}
    with contextlib.suppress(CheckpointError):
        configuration = read_object(CONFIGURATION, place)
    stems = _STEMS["diffusers" if "_class_name" in configuration else "transformers"]
    own = configuration.get("transformers_weights")
    first = (own.split(".")[0],) if isinstance(own, str) else ()
    return SubModel("", (*first, *stems))


def _of_training(folders: Mapping[str, Collection[str]]) -> Iterator[SubModel]:
    """The weights of a training: at the top, where accelerate puts them, and in configured folders."""
    for folder, names in sorted(folders.items()):
        if "/" not in folder and has_weights(names) and (not folder or CONFIGURATION in names):
            yield SubModel(folder, _STEMS["diffusers"] if folder else ())
