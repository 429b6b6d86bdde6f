"""The files of a folder, sorted into the model's weights, its other files, and extras.

Weights belong to the model if `model_index.json` names their folder, or if they are in one folder
with the model's own `config.json`. Other weights, exports and the state of a training are extras.
A part that the folder's own files name must be there: a missing one is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CheckpointError
from .checkpoint import shown
from .sub_models import (
    CONFIGURATION,
    OTHER_CONFIGURATIONS,
    Plan,
    SubModel,
    is_of_training,
    plan_of,
    read_object,
)
from .weight_files import INCOMPLETE, TENSORS, choose, is_index

_OTHER_WEIGHTS = re.compile(
    r".*(\.(bin|ckpt|pt|pth|onnx|onnx_data|onnx\.data|msgpack|h5|pb|gguf|ot|tflite|engine|pdparams)"
    r"|\.bin(\..+)?\.index(\..+)?\.json)",
    re.IGNORECASE,
)
_UNFINISHED = ".incomplete"

OTHER_FORM = "weights in another form than safetensors"
OF_TRAINING = "the state of a training"
UNFINISHED = "a download that was not finished"
NO_SUB_MODEL = "weights of no sub-model that the folder names"
OTHER_FOLDER = "a folder with weights of no sub-model that is named"


@dataclass
class Sorted:
    """The sorted files of a folder.

    `weights`: the name of its set for each safetensors file. `others`: the model's other files.
    `extras`: the path and the reason to report for each extra file; one path may be a folder that
    has many of them. `promised`: the tensors of each file, by the index of its shards.
    """

    weights: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    extras: dict[str, tuple[str, str]] = field(default_factory=dict)
    promised: dict[str, list[str]] = field(default_factory=dict)


def sort_files(files: Mapping[str, Path]) -> Sorted:
    """Sort the files by what the folder names. Raises `CheckpointError` for a missing part."""
    folders: dict[str, list[str]] = {}
    for path in files:
        folder, name = _split(path)
        folders.setdefault(folder, []).append(name)
    plan = plan_of(files, folders)
    result = Sorted()
    for sub_model in dict.fromkeys(plan.sub_models):
        _take_weights(sub_model, folders.get(sub_model.folder, ()), files, result)
    _take_rest(files, plan, result)
    return result


def _take_weights(
    sub_model: SubModel, names: Collection[str], files: Mapping[str, Path], result: Sorted
) -> None:
    start = f"{sub_model.folder}/" if sub_model.folder else ""
    candidates = [name for name in names if not is_of_training(name)]
    try:
        chosen = choose(
            candidates, sub_model.stems, lambda name: read_object(name, files[start + name])
        )
    except CheckpointError as error:
        raise CheckpointError(f"{start}{error}", error.hint) from error
    if sub_model.is_needed and not chosen.weights:
        _check_none_are_missing(sub_model, names)
    result.weights |= {start + name: own for name, own in chosen.weights.items()}
    result.promised |= {start + name: tensors for name, tensors in chosen.promised.items()}
    result.extras |= {start + name: (start + name, why) for name, why in chosen.left.items()}


def _check_none_are_missing(sub_model: SubModel, names: Collection[str]) -> None:
    """Raise `CheckpointError` unless the folder is for a component that has no weights."""
    folder = sub_model.folder or "the folder"
    for name in sorted(names):
        if name.endswith(_UNFINISHED):
            raise CheckpointError(
                f"{folder} has no weights, but {shown(name)}: {UNFINISHED}", INCOMPLETE
            )
        if _OTHER_WEIGHTS.fullmatch(name) and not is_of_training(name):
            raise _in_another_form(sub_model.folder, name)
    if CONFIGURATION in names or not any(name in names for name in OTHER_CONFIGURATIONS):
        raise CheckpointError(
            f"{folder} has no weights: no {sub_model.stems[0]}{TENSORS}, and no index of shards",
            INCOMPLETE,
        )


def _take_rest(files: Mapping[str, Path], plan: Plan, result: Sorted) -> None:
    inside = {sub_model.folder for sub_model in plan.sub_models}
    foreign = set()
    if plan.own is not None:
        tops = {_top(path) for path in files if _reason(_split(path)[1], is_beside=False)}
        foreign = tops.difference(plan.own, {""})
    for path in files:
        folder, name = _split(path)
        if path in result.weights or path in result.extras:
            continue
        reason = _reason(name, is_beside=folder in inside)
        if _top(path) in foreign:
            result.extras[path] = _top(path), OTHER_FOLDER
        elif reason is None or _top(path) in plan.whole:
            result.others.append(path)
        elif plan.own is None and folder not in inside and reason == NO_SUB_MODEL:
            raise _in_another_form(folder, name)
        else:
            result.extras[path] = path, reason


def _reason(name: str, *, is_beside: bool) -> str | None:
    """The reason why a file is not the model's; None if it is.

    `is_beside`: the file is in a folder of the model's weights.
    """
    if is_of_training(name):
        return OF_TRAINING
    if name.endswith(_UNFINISHED):
        return UNFINISHED
    if _OTHER_WEIGHTS.fullmatch(name):
        return OTHER_FORM if is_beside else NO_SUB_MODEL
    if (name.endswith(TENSORS) or is_index(name)) and not is_beside:
        return NO_SUB_MODEL
    return None


def is_in_another_form(path: str) -> bool:
    """Return whether a file has weights in a form that is not read here."""
    return _OTHER_WEIGHTS.fullmatch(path) is not None


def _in_another_form(folder: str, name: str) -> CheckpointError:
    where = folder or "the folder"
    path = f"{folder}/{name}" if folder else name
    return CheckpointError(
        f"{path} has weights, and {where} has no safetensors file",
        "Save the model again with `safe_serialization=True`.",
    )


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def _top(path: str) -> str:
    """The first folder of a path; "" for a file at the top."""
    return path.partition("/")[0] if "/" in path else ""
