"""The files of full checkpoints with their sizes, for thousands of versions, without making a byte.

They are a fact of the container or the residual, so the catalog caches them by its digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ... import canonical
from ...catalog import ResidualRecord, VersionRecord
from ...container.reader import Container
from ...container.records import Header, KeptFile, Result
from ...errors import DsvdError
from ...residual.reader import Residual
from ..repository import Repository
from ..upkeep.residuals import open_residual
from .result_pool import ResultEntry, ResultForm, ResultPool, laid_out_by

Entries = tuple[ResultEntry, ...]
AS_STORED = ResultForm()


@dataclass(frozen=True)
class ResultListings:
    """The files of many full checkpoints, by the ref of their version.

    `failures`: the errors of the versions that have no listing, because they are damaged or do not
    have the requested form.
    """

    files: dict[str, Entries]
    failures: dict[str, DsvdError]


def result_files(
    version: VersionRecord, repository: Repository, pool: ResultPool, form: ResultForm
) -> Entries:
    """The files of a version's full checkpoint, by path; see `Registry.result_files`."""
    key = _key(version, form, repository)
    known = _entries(repository.catalog.cached_listings({key}).get(key))
    if known is not None:
        return known
    found = _listed(version, repository, pool, form)
    repository.catalog.remember_listings({key: _text(found)})
    return found


def result_listings(
    versions: Iterable[VersionRecord], repository: Repository, pool: ResultPool, form: ResultForm
) -> ResultListings:
    """The files of each version's full checkpoint; see `Registry.result_listings`."""
    listings = ResultListings({}, {})
    keys: dict[str, tuple[VersionRecord, tuple[str, str]]] = {}
    for version in versions:
        try:
            keys[version.ref] = version, _key(version, form, repository)
        except DsvdError as error:
            listings.failures[version.ref] = error
    known = repository.catalog.cached_listings({key for _, key in keys.values()})
    new: dict[tuple[str, str], str] = {}
    for ref, (version, key) in keys.items():
        found = _entries(known.get(key))
        if found is None:
            try:
                found = _listed(version, repository, pool, form)
            except DsvdError as error:
                listings.failures[ref] = error
                continue
            new[key] = _text(found)
        listings.files[ref] = found
    if new:
        repository.catalog.remember_listings(new)
    return listings


def remember_files(version: VersionRecord, header: Header | None, repository: Repository) -> None:
    """Cache the files of a version that was just added, so that listing it later opens nothing.

    `header`: that of its container; None if that is an earlier one, whose files were cached then. A
    listing is a fact of its object, so `gc` leaves it when it removes the object: it takes some hundred
    bytes, and is true again when the object comes back.
    """
    if header is not None or version.residual is not None:
        listing = listing_of(version.container, version.residual, header, repository)
        repository.catalog.remember_listings(listing)


def listing_of(
    container: str, residual: ResidualRecord | None, header: Header | None, repository: Repository
) -> dict[tuple[str, str], str]:
    """The files that a container gives, with its residual if it has one, as the catalog caches them.

    `header`: that of the container, which is opened if it is None. Raises `ContainerError`,
    `RegistryError`.
    """
    if header is None:
        with Container(repository.objects.open(container)) as opened:
            header = opened.header
    results, decides = header.results, container
    if residual is not None:
        with Residual(repository.objects.open(residual.sha256)) as whole:
            results, decides = whole.header.results, residual.sha256
    return {(decides, canonical.encode({}).decode()): _text(_with_kept(results, header))}


def _listed(
    version: VersionRecord, repository: Repository, pool: ResultPool, form: ResultForm
) -> Entries:
    if form == AS_STORED:
        return _recorded(version, None, repository)
    with pool.use(version, form) as opened:
        return opened.entries


def _recorded(version: VersionRecord, header: Header | None, repository: Repository) -> Entries:
    """The files that the objects of a version record; its base need not be there.

    The container is opened if its `header` is not given.
    """
    if header is None:
        with repository.open_container(version) as container:
            header = container.header
    results = header.results
    if version.residual is not None:
        with open_residual(version, version.residual, repository) as residual:
            results = residual.header.results
    return _with_kept(results, header)


def _with_kept(results: Iterable[Result], header: Header) -> Entries:
    kept = [file for file in header.tree or () if isinstance(file, KeptFile)]
    files = [ResultEntry(one.path, one.size, one.sha256) for one in results]
    files += [ResultEntry(one.path, one.size, one.sha256) for one in kept]
    return tuple(sorted(files, key=lambda one: one.path))


def _key(version: VersionRecord, form: ResultForm, repository: Repository) -> tuple[str, str]:
    """The object that decides what the files are, and the form as text.

    Raises as `laid_out_by`.
    """
    residual = version.residual if form.tau is None else None  # at a tau the container alone counts
    asked: dict[str, object] = {"tau": form.tau, "dtype": form.dtype, "layout": form.layout}
    asked["base"] = laid_out_by(version, form, repository)
    text = canonical.encode({name: value for name, value in asked.items() if value})
    return version.container if residual is None else residual.sha256, text.decode()


def _text(entries: Entries) -> str:
    return canonical.encode([[one.path, one.size, one.sha256] for one in entries]).decode()


def _entries(text: str | None) -> Entries | None:
    """The entries in a cached text; None if it is none, or not one that this program wrote."""
    try:
        return tuple(ResultEntry(*entry) for entry in json.loads(text or "null"))
    except (TypeError, ValueError):
        return None
