"""Addition of one checkpoint: options are checked, base and name found, then the version is added."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidArgument
from ..progress import Progress
from .add import Addition, add_version
from .add_request import AddOptions, add_request
from .best_base import best_base
from .known_models import named_files
from .repository import Repository


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
