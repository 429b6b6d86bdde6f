"""The files of one folder that a loader takes as its weights: a single file, or an index's shards.

The name of a set of weights is its files' name without shard numbers and ending, such as
`diffusion_pytorch_model` or `model.fp16`. Its stem is the part before the first dot; the rest names
a variant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError
from .checkpoint import shown

TENSORS = ".safetensors"
# Diffusers and transformers put a variant's name before the ending; older ones elsewhere.
_INDEX = re.compile(r"(.+)\.safetensors((?:\.[^./]+)?)\.index((?:\.[^./]+)?)\.json")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")

DIFFUSERS_STEM, TRANSFORMERS_STEM = "diffusion_pytorch_model", "model"
STALE_INDEX = "an index of shards of which none is there"
STRAY_SHARD = "a shard that the index does not name"
NOT_LOADED = "not the weights that a loader of this folder takes"
INCOMPLETE = "Finish the download, or give a complete folder."

ReadIndex = Callable[[str], Mapping[str, Any]]


@dataclass
class Chosen:
    """The choice of files: `weights` maps each to the name of its set, `left` the others to a reason.

    `promised`: the tensors of each file, by the index of its shards.
    """

    weights: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    promised: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Set:
    """A set of weight files. `tensors`: the file of each tensor, by the index."""

    single: str | None = None
    shards: list[str] = field(default_factory=list)
    index: str | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        return [name for name in (self.single, self.index, *self.shards) if name is not None]


def is_index(name: str) -> bool:
    """Return whether a file lists the shards that tensors are in."""
    return _INDEX.fullmatch(name) is not None


def set_name(name: str) -> str:
    """The name of the set that a safetensors file belongs to, if no index assigns it to another."""
    return _SHARD.sub("", name.removesuffix(TENSORS))


def choose(names: Iterable[str], stems: Sequence[str], read_index: ReadIndex) -> Chosen:
    """Choose the weights among the files of one folder.

    The sets of the first of `stems` that is there are taken, with all its variants; if none is
    there, all sets. Raises `CheckpointError` for weights of which a part is missing.
    """
    sets = _sets(sorted(names), read_index)
    present = {_stem(name) for name in sets}
    stem = next((stem for stem in stems if stem in present), None)
    chosen = Chosen()
    for name, files in sorted(sets.items()):
        if stem is None or _stem(name) == stem:
            _choose(files, name, chosen)
        else:
            chosen.left |= dict.fromkeys(files.files, NOT_LOADED)
    return chosen


def _stem(name: str) -> str:
    return name.split(".")[0]


def _sets(names: Sequence[str], read_index: ReadIndex) -> dict[str, _Set]:
    sets: dict[str, _Set] = {}
    indexed: dict[str, str] = {}
    for name in names:
        match = _INDEX.fullmatch(name)
        if match is not None:
            own = "".join(match.groups())
            tensors = _weight_map(read_index(name), name)
            sets[own] = _Set(index=name, tensors=tensors)
            indexed |= dict.fromkeys(tensors.values(), own)
    for name in names:
        if name.endswith(TENSORS):
            own = indexed.get(name, set_name(name))
            files_of_set = sets.setdefault(own, _Set())
            if name == own + TENSORS:
                files_of_set.single = name
            else:
                files_of_set.shards.append(name)
    return sets


def _choose(files: _Set, name: str, chosen: Chosen) -> None:
    named = set(files.tensors.values())
    missing = sorted(named.difference(files.files))
    is_stale = files.single is not None and named.isdisjoint(files.files)
    if missing and not is_stale:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{files.index} names {shown(missing[0])}{more}, and there is no such file", INCOMPLETE
        )
    if missing:
        chosen.left[str(files.index)] = STALE_INDEX
    # Where both are complete, diffusers takes the shards of the index, and the others the single file.
    if named and not is_stale and (files.single is None or _stem(name) == DIFFUSERS_STEM):
        taken, why_not = sorted(named), NOT_LOADED
    elif files.single is not None:
        taken, why_not = [files.single], NOT_LOADED if named and not missing else STRAY_SHARD
        if named.difference(taken) and not missing:
            chosen.left[str(files.index)] = NOT_LOADED
    else:
        _check_numbers(files.shards)
        taken, why_not = files.shards, STRAY_SHARD
    for tensor, file in files.tensors.items():
        if file in taken:
            chosen.promised.setdefault(file, []).append(tensor)
    chosen.weights |= dict.fromkeys(taken, name)
    for file in files.files:
        if file.endswith(TENSORS) and file not in taken:
            chosen.left[file] = (
                STRAY_SHARD if file not in named and file != files.single else why_not
            )


def _weight_map(index: Mapping[str, Any], name: str) -> dict[str, str]:
    """The file of each tensor. Raises `CheckpointError` for a map to files outside the folder."""
    weight_map = index.get("weight_map", {})
    if not isinstance(weight_map, dict) or not all(
        isinstance(file, str) for file in weight_map.values()
    ):
        raise CheckpointError(f"the weight_map of {name} is no map of tensors to files")
    for file in weight_map.values():
        if "/" in file or "\\" in file or not file.endswith(TENSORS):
            raise CheckpointError(
                f"{name} names {shown(file)}, which is no safetensors file of its folder"
            )
    return weight_map


def _check_numbers(shards: Sequence[str]) -> None:
    """Raise `CheckpointError` if one of the shards is missing, by the number in their names."""
    present = set(shards)
    for shard in shards:
        number = _SHARD.search(shard)
        if number is None:
            continue
        for other in range(1, min(int(number[2]), len(shards) + 1) + 1):
            wanted = f"{shard[: number.start()]}-{other:05}-of-{number[2]}{shard[number.end() :]}"
            if wanted not in present:
                raise CheckpointError(f"there is {shown(shard)}, but no {wanted}", INCOMPLETE)
