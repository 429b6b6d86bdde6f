"""The task of a worker: it opens the registry by its address, prepares a file and gives back a value."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ...progress import silent
from ..repository import Repository, found_home, opened
from .add_request import AddRequest
from .file_outcomes import AddedFile
from .model_names import NamedFile
from .prepare_file import PreparedFile, prepare_file


@dataclass(frozen=True)
class Address:
    """The place where any process finds a registry: its path or URL, and the URL of its catalog."""

    registry: str
    catalog: str | None

    @classmethod
    def of(cls, repository: Repository) -> Address:
        """The address of an open registry."""
        home = repository.home
        is_here = home.name == str(home.root)
        return cls(str(home.root.absolute()) if is_here else home.name, repository.catalog.url)


@dataclass(frozen=True)
class Task:
    """A file to prepare, and where and how."""

    address: Address
    file: NamedFile
    request: AddRequest


def do(task: Task) -> PreparedFile | AddedFile:
    """Prepare the file of a task. Raises the errors of opening the registry."""
    return prepare_file(task.file, task.request, _repository(task.address), silent)


@functools.lru_cache(maxsize=1)
def _repository(address: Address) -> Repository:
    """The open registry, which stays open for the next task of this process."""
    return opened(found_home(address.registry), address.catalog)
