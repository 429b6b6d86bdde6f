"""Tensors that have one shape in the layout that is asked for and another in the version.

A single file has no configuration: its tensors have the version's shapes. A folder's configurations
say what its shapes are, so that the version's can stand there only where one number of a
configuration tells a loader so, which is the size of a text encoder's vocabulary. Anything else is
another model, and refused.
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
from .kept_files import file_chunks
from .target_layout import Target

CONFIGURATION, VOCABULARY_SIZE = "config.json", "vocab_size"
_EMBEDDINGS = (
    "text_model.embeddings.token_embedding.weight",
    "embeddings.token_embedding.weight",
    "shared.weight",
    "encoder.embed_tokens.weight",
)
"""The tensors, by their names in a text encoder's own file, that have a row for each token."""
_HINT = "Name a folder that fits the version with --like, or leave --layout out."


@dataclass(frozen=True)
class Adjusted:
    """A number of a configuration that was written as the version has it.

    `before`: what the layout's folder has; None where it does not say.
    """

    path: str
    key: str
    before: int | None
    after: int


@dataclass(frozen=True)
class Configuration:
    """A configuration with a number of its own, and its bytes."""

    adjusted: Adjusted
    data: bytes


def result_shape(info: TensorInfo, own: str, viewed: Shape, *, is_folder: bool) -> Shape:
    """The shape in the result of a tensor that is `info` in a layout, and `viewed` in the version.

    `own`: its name in its file.

    Raises `InvalidArgument` for another shape that no loader of the layout would take.
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
    target: Target, shapes: Mapping[str, Shape]
) -> dict[str, Configuration]:
    """The configurations of a folder that change with the `shapes` of its tensors, by their paths.

    `shapes`: by a tensor's name in the whole checkpoint. Raises `InvalidArgument` where a configuration
    cannot tell a loader of them, `BaseMismatch` where it was changed meanwhile, `StorageError`.
    """
    rows: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for file in target.files:
        for name, info in file.tensors.items():
            if name in _EMBEDDINGS and file.prefix + name in shapes:
                path = str(PurePosixPath(file.path).with_name(CONFIGURATION))
                rows[path].add((info.shape[0], shapes[file.prefix + name][0]))
    found = {}
    for path, changes in rows.items():
        if any(before != after for before, after in changes):
            found[path] = _adjusted(path, _read(path, target), changes)
    return found


def _read(path: str, target: Target) -> bytes:
    """A configuration; nothing where it is not there, or larger than any."""
    places = target.places or {}
    found = [file for file in target.others if file.path == path and file.size <= MAX_WEIGHT]
    return b"".join(chunk for file in found for chunk in file_chunks(file, places[path]))


def _adjusted(path: str, data: bytes, changes: Collection[tuple[int, int]]) -> Configuration:
    before, after = next(iter(changes))
    try:
        document = json.loads(data) if weight(data) <= MAX_WEIGHT else None
    except (ValueError, RecursionError):
        document = None
    said = document.get(VOCABULARY_SIZE) if isinstance(document, dict) else None
    if len(changes) > 1 or not isinstance(document, dict) or said not in (None, before):
        raise InvalidArgument(
            f"the version's vocabulary has {after} rows, where the layout's has {before}, and {path} "
            "cannot tell a loader so",
            _HINT,
        )
    document[VOCABULARY_SIZE] = after
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return Configuration(Adjusted(path, VOCABULARY_SIZE, said, after), text.encode())
