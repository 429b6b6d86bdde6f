"""Push and pull: the exchange of versions with a remote, by its name."""

from __future__ import annotations

from collections.abc import Iterable

from ...progress import Progress
from ..repository import Repository
from .remotes import opened_remote, remote_named
from .transfer import Exchanged, exchange, foreseen
from .transfer_plan import planned


def push(
    name: str,
    refs: Iterable[str] | None,
    repository: Repository,
    progress: Progress,
    *,
    dry_run: bool,
) -> Exchanged:
    """Take versions of this registry to a remote; see `Registry.push`."""
    with opened_remote(remote_named(repository.home, name).url) as remote:
        return _taken(repository, remote, refs, progress, dry_run=dry_run)


def pull(
    name: str,
    refs: Iterable[str] | None,
    repository: Repository,
    progress: Progress,
    *,
    dry_run: bool,
) -> Exchanged:
    """Take versions of a remote to this registry; see `Registry.pull`."""
    with opened_remote(remote_named(repository.home, name).url) as remote:
        return _taken(remote, repository, refs, progress, dry_run=dry_run)


def _taken(
    source: Repository,
    target: Repository,
    refs: Iterable[str] | None,
    progress: Progress,
    *,
    dry_run: bool,
) -> Exchanged:
    if not dry_run:
        target.catalog.check_may_write()
    plan = planned(source, target, refs, progress)
    return foreseen(plan) if dry_run else exchange(plan, source, target, progress)
