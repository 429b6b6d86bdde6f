"""Models and bases under the names, revisions and commits that clients of the hub ask for.

A model is the repository `dsvd/NAME`, or `NAME` alone; a base is `bases/NAME`. A version is a commit.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..catalog import BaseRecord, VersionRecord
from ..errors import InvalidArgument, NotFound
from ..registry.registry import Registry
from .checkpoints import Checkpoint, content_key

MODELS, BASES = "dsvd", "bases"
MAIN = "main"
LONGEST = 96 - len("bases/")  # an id has at most 96 characters
_COMMIT = re.compile(r"[0-9a-f]{40}")


class RepositoryNotFound(NotFound):
    """An id that is of no model and no base."""


class RevisionNotFound(NotFound):
    """A revision that the model or base does not have."""


class EntryNotFound(NotFound):
    """A file or folder that the revision does not have."""


@dataclass(frozen=True)
class Revision:
    """A version or base as a commit of a repository of the hub."""

    id: str
    commit: str
    checkpoint: Checkpoint


def commit_of(checkpoint: Checkpoint) -> str:
    """The 40 hexadecimal digits that clients take for a commit; they stand for the files alone."""
    return content_key(checkpoint)[:40]


def hub_name(name: str) -> str:
    """The name of a model or base in an id of the hub, whose rules are narrower than ours.

    It is the same but for names with `--` or `..`, with `-` at the end, with the ending `.git`, and
    for long ones. Those get a tail from their SHA-256.
    """
    is_allowed = not re.search(r"--|\.\.|-$|\.git$", name) and len(name) <= LONGEST
    if is_allowed:
        return name
    tail = hashlib.sha256(name.encode()).hexdigest()[:8]
    plain = re.sub(r"([-.])\1+", r"\1", name)[: LONGEST - len(tail) - 1].rstrip("-.")
    return f"{plain}-{tail}"


class HubNames:
    """Lookup of ids and revisions. Any thread may use it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def revision(self, organisation: str, name: str, revision: str) -> Revision:
        """The revision of an id. Raises `RepositoryNotFound`, `RevisionNotFound`."""
        if organisation == BASES:
            base = self._base(name)
            commit = commit_of(base)
            if revision not in (MAIN, "latest", commit):
                raise RevisionNotFound("the base has no such revision", f"It has only {MAIN}.")
            return Revision(f"{BASES}/{hub_name(base.name)}", commit, base)
        model = self._model(name)
        version = self._version(model, revision)
        return Revision(f"{MODELS}/{hub_name(model)}", commit_of(version), version)

    def branches_and_tags(
        self, organisation: str, name: str
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The commits of the movable names, aliases, and of the fixed ones, numbers."""
        main = self.revision(organisation, name, MAIN)
        branches, tags = {MAIN: main.commit}, {}
        if organisation != BASES:
            for version in self._registry.versions(self._model(name)):
                commit = commit_of(version)
                branches |= {alias: commit for alias in version.aliases if alias != MAIN}
                tags[str(version.number)] = commit
        return branches, tags

    def _model(self, name: str) -> str:
        models = [model for model in self._registry.repository.catalog.models() if model.latest]
        for model in models:
            if model.name == name:
                return name
        for model in models:
            if hub_name(model.name) == name:
                return model.name
        raise RepositoryNotFound("there is no such model", "GET /api/v1/models lists them.")

    def _base(self, name: str) -> BaseRecord:
        bases = self._registry.bases()
        for base in bases:
            if base.name == name:
                return base
        for base in bases:
            if hub_name(base.name) == name:
                return base
        raise RepositoryNotFound("there is no such base", "GET /api/v1/bases lists them.")

    def _version(self, model: str, revision: str) -> VersionRecord:
        if _COMMIT.fullmatch(revision):
            for version in reversed(self._registry.versions(model)):
                if commit_of(version) == revision:
                    return version
        try:
            return self._registry.version(f"{model}@{revision}")
        except (InvalidArgument, NotFound):
            if revision == MAIN:  # the model has no alias of that name
                return self._registry.version(model)
        raise RevisionNotFound(
            "the model has no such revision", "A revision is main, an alias, a number or a commit."
        )
