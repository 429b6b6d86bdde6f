"""Shapes of tensors that differ between a version and the target layout.

A single file has no configuration, so its tensors can have the version's shapes. The shapes of a
folder follow from its configurations. One difference is allowed there: the size of a text encoder's
vocabulary, for which a number in the configuration is adjusted. Any other difference means another
model, and is refused.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..canonical import MAX_WEIGHT, weight
from ..checkpoint import TensorInfo
from ..errors import InvalidArgument
from ..layouts.view import Shape, is_alike
from .file_assembly import whole_file
from .kept_files import listed_plan
from .target_layout import TargetLayout

CONFIGURATION, VOCABULARY_SIZE = "config.json", "vocab_size"
_EMBEDDINGS = (
    "text_model.embeddings.token_embedding.weight",
    "embeddings.token_embedding.weight",
    "shared.weight",
    "encoder.embed_tokens.weight",
)
"""The tensors with a row for each token, by their names in a text encoder's own file."""
_HINT = "Name a folder that fits the version with --like, or leave --layout out."


@dataclass(frozen=True)
class Adjusted:
    """A number in a configuration that was adjusted to the version.

    `before`: the number in the folder of the layout; None if the configuration does not have it.
    """

    path: str
    key: str
    before: int | None
    after: int


@dataclass(frozen=True)
class Configuration:
    """The bytes of an adjusted configuration, and the adjustment."""

    adjusted: Adjusted
    data: bytes


def result_shape(info: TensorInfo, own: str, viewed: Shape, *, is_folder: bool) -> Shape:
    """The shape in the result of a tensor that is `info` in the layout.

    `viewed`: its shape in the version. `own`: its name in its file. Raises `InvalidArgument` for a
    shape that no loader of the layout would accept.
    """
    if is_alike(viewed, info.shape):
        return info.shape
    is_taken = not is_folder or (own in _EMBEDDINGS and viewed[1:] == info.shape[1:])
    if is_taken and len(viewed) == len(info.shape):
        return viewed
    raise InvalidArgument(
        f"the tensor {info.name!r} has the shape {list(viewed)} in the version, and "
        f"{list(info.shape)} in the layout that it is to be written in",
        _HINT,
    )


def adjusted_configurations(
    target: TargetLayout, shapes: Mapping[str, Shape]
) -> dict[str, Configuration]:
    """The configurations of a folder that must be adjusted to the `shapes` of its tensors, by path.

    `shapes`: by the tensors' names in the whole checkpoint. Raises `InvalidArgument` if a
    configuration cannot express them, `BaseMismatch` if its file has changed on disk, and
    `StorageError`.
    """
    rows: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for file in target.files:
        for name, info in file.tensors.items():
            if name in _EMBEDDINGS and file.prefix + name in shapes:
                path = str(PurePosixPath(file.path).with_name(CONFIGURATION))
                rows[path].add((info.shape[0], shapes[file.prefix + name][0]))
    configurations = {}
    for path, changes in rows.items():
        if any(before != after for before, after in changes):
            configurations[path] = _adjusted(path, _read(path, target), changes)
    return configurations


def _read(path: str, target: TargetLayout) -> bytes:
    """The bytes of a configuration; empty if it is missing, or too large to be one."""
    places = target.places or {}
    files = [file for file in target.others if file.path == path and file.size <= MAX_WEIGHT]
    return b"".join(whole_file(listed_plan(file, places[path])) for file in files)


def _adjusted(path: str, data: bytes, changes: Collection[tuple[int, int]]) -> Configuration:
    before, after = next(iter(changes))
    try:
        document = json.loads(data) if weight(data) <= MAX_WEIGHT else None
    except (ValueError, RecursionError):
        document = None
    configured = document.get(VOCABULARY_SIZE) if isinstance(document, dict) else None
    if len(changes) > 1 or not isinstance(document, dict) or configured not in (None, before):
        raise InvalidArgument(
            f"the version's vocabulary has {after} rows, where the layout's has {before}, and {path} "
            "cannot be adjusted to that",
            _HINT,
        )
    document[VOCABULARY_SIZE] = after
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return Configuration(Adjusted(path, VOCABULARY_SIZE, configured, after), text.encode())
