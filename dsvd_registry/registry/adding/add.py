"""Addition of a version: a checkpoint is recognised, or encoded into a container, and recorded."""

from __future__ import annotations

from pathlib import Path

from ...catalog import BaseRecord
from ...errors import Conflict, InvalidArgument
from ...progress import Progress
from ...store import names
from ..repository import Repository
from .add_request import AddOptions, AddRequest, add_request
from .best_base import best_base
from .commit import Addition, commit
from .known_models import named_files
from .model_names import USUAL_NAMES, ascii_name
from .prepare import prepare


def add_one(
    path: Path,
    name: str | None,
    options: AddOptions,
    repository: Repository,
    progress: Progress,
) -> Addition:
    """Store a checkpoint as the next version of a model; see `Registry.add`."""
    if name is not None and options.get("name_from") is not None:
        raise InvalidArgument("both a name and name_from are given", "Give one of them.")
    request = add_request(options, repository)
    catalog, base = repository.catalog, request.base
    if base is None:
        base = catalog.base(best_base(path, catalog.bases(), repository, request.weights).sure())
    model = name or named_files([path], request.names, repository)[0].model
    return add_version(path, model, base, request, repository, progress)


def add_version(
    path: Path,
    model: str,
    base: BaseRecord,
    request: AddRequest,
    repository: Repository,
    progress: Progress,
) -> Addition:
    """Store the checkpoint at `path` as the next version of `model`, or find the version that has it.

    See `prepare` for what is stored. All of it becomes one event.
    """
    check_model(model, repository)
    return commit(prepare(path, model, base, request, repository, progress), repository)


def name_of(path: Path) -> str:
    """The default name of a model, made from the name of the path. Raises `StorageError`."""
    return ascii_name(USUAL_NAMES.raw_name(path))


def check_model(name: str, repository: Repository) -> None:
    """Check the name of a model before the long work; the catalog checks it again.

    Raises `InvalidArgument`, and `Conflict` if another model's name differs in case alone.
    """
    names.check_name("model", name)
    for model in repository.catalog.models():
        if names.folded(model.name) == names.folded(name) and model.name != name:
            raise Conflict(
                f"there is a model {model.name}, which differs from {name} in case alone",
                f"Use --name {model.name}, or another name.",
            )
