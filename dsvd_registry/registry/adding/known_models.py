"""Models that have a version of a file already, found without reading the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from ...catalog import FileState
from ...errors import DsvdError
from ..repository import Repository
from .model_names import NamedFile, NameRule, unique_names


def named_files(paths: Sequence[Path], rule: NameRule, repository: Repository) -> list[NamedFile]:
    """The model that each path becomes a version of. Raises `StorageError`."""
    taken = [model.name for model in repository.catalog.models()]
    return unique_names(paths, rule, taken, known_models(repository))


def known_models(repository: Repository) -> Callable[[Path], frozenset[str]]:
    """A function that gives the models with a version of a file whose digest is cached."""
    by_source: dict[str, set[str]] = defaultdict(set)
    is_read = False

    def known(path: Path) -> frozenset[str]:
        nonlocal is_read
        digest = _remembered(path, repository)
        if digest is None:
            return frozenset()
        if not is_read:
            is_read = True
            for version in repository.catalog.versions():
                by_source[version.source.sha256].add(version.model)
        return frozenset(by_source.get(digest, ()))

    return known


def _remembered(path: Path, repository: Repository) -> str | None:
    """The cached SHA-256 of a file that was not changed since; None for a folder."""
    try:
        if not path.is_file():
            return None
        fingerprint = repository.catalog.cached_fingerprint(FileState.of(path))
    except (
        DsvdError,
        OSError,
        ValueError,
    ):  # an unreadable file is refused later, when it is opened
        return None
    return None if fingerprint is None else fingerprint.sha256
