"""Looking for damage: objects, containers, bases; deep: what each version gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ParamSpec

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..catalog.faults import DamagedCatalogError
from ..catalog.records import ResidualRecord
from ..container.reader import Container
from ..errors import DsvdError
from ..progress import Meter, Progress, silent
from ..store import ObjectStore, RegistryFolder
from ..store.damaged_events import damaged_events
from ..threads import threads
from .identity import fingerprint_checkpoint
from .lossless import opened_lossless
from .opening import (
    base_of,
    open_base_checkpoint,
    open_version,
    read_manifest,
    stored_listing,
)

P = ParamSpec("P")

CATALOG = ("catalog",)
DAMAGED_EVENT = (
    "is damaged: its bytes do not have that SHA-256. The catalog still shows what happened: keep it, "
    "and do not rebuild it, until that file is put back from a copy of the registry"
)


@dataclass(frozen=True)
class Finding:
    """Something wrong: `subjects` are the versions, and the base, that it hits."""

    subjects: tuple[str, ...]
    problem: str


@dataclass(frozen=True)
class Verified:
    """What was looked at, and all that was wrong with it."""

    versions: int
    bases: int
    bytes_read: int
    deep: bool
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        return not self.findings


def verify_log(catalog: Catalog, folder: RegistryFolder) -> tuple[Finding, ...]:
    """Read every event, and compare each row of the catalog with what the events make."""
    try:
        catalog.check_log()
    except DamagedCatalogError as error:
        return (Finding(CATALOG, f"{error}; nothing else was looked at"),)
    except DsvdError as error:
        damaged = damaged_events(folder).values()
        problems = [f"{path} {DAMAGED_EVENT}" for path in damaged] or [f"{error}. {error.hint}"]
        return tuple(Finding(("event log",), problem) for problem in problems)
    return ()


def verify(
    versions: list[VersionRecord],
    bases: list[BaseRecord],
    catalog: Catalog,
    objects: ObjectStore,
    *,
    deep: bool,
    progress: Progress,
) -> Verified:
    """Check the containers of `versions` and the files of `bases`; `deep` materialises in memory.

    Several files are read at once.
    """
    containers: dict[str, list[VersionRecord]] = defaultdict(list)
    for version in versions:
        containers[version.container].append(version)
    # By the container, too: that it is the right one, is to be seen of each.
    residuals: dict[tuple[ResidualRecord, str], list[VersionRecord]] = defaultdict(list)
    for version in versions:
        if version.residual is not None:
            residuals[version.residual, version.container].append(version)
    total = sum(hit[0].size for hit in containers.values()) + sum(base.size for base in bases)
    total += sum(residual.size for residual, _ in residuals)
    meter = Meter(progress, "verifying", total)
    findings: list[Finding] = []
    with threads() as pool:
        of_bases = [pool.submit(_problems, _base_problems, base, objects) for base in bases]
        of_containers = [
            pool.submit(_problems, _container_problems, sharing[0], objects)
            for sharing in containers.values()
        ]
        of_residuals = [
            pool.submit(_problems, _residual_problems, having[0], objects)
            for having in residuals.values()
        ]
        for base, found in zip(bases, of_bases, strict=True):
            needed_by = (version.ref for version in versions if version.base == base.digest)
            findings += _findings((f"base {base.name}", *needed_by), found.result())
            meter.advance(base.size)
        for sharing, found in zip(containers.values(), of_containers, strict=True):
            problems = found.result() + _problems(_lacking_base, sharing[0], catalog)
            if deep and not problems:
                problems = _problems(_result_problems, sharing[0], catalog, objects)
            findings += _findings((version.ref for version in sharing), problems)
            meter.advance(sharing[0].size)
        for ((residual, _), having), found in zip(residuals.items(), of_residuals, strict=True):
            problems = found.result()
            if deep and not problems:
                problems = _problems(_source_problems, having[0], catalog, objects)
            findings += _findings((version.ref for version in having), problems)
            meter.advance(residual.size)
    return Verified(len(versions), len(bases), total, deep, tuple(findings))


def _findings(subjects: Iterable[str], problems: list[str]) -> list[Finding]:
    named = tuple(subjects)
    return [Finding(named, problem) for problem in problems]


def _problems(look: Callable[P, Iterable[str]], *where: P.args, **how: P.kwargs) -> list[str]:
    """All that `look` finds, up to what keeps it from going on."""
    found: list[str] = []
    try:
        found.extend(look(*where, **how))
    except DsvdError as error:
        found.append(str(error))
    return found


def _base_problems(base: BaseRecord, objects: ObjectStore) -> Iterator[str]:
    manifest = read_manifest(base, objects)
    if base.link is None:
        objects.check(base.file)
        if base.is_folder:
            for file in stored_listing(base, objects):
                objects.check(file.sha256)
        return
    with open_base_checkpoint(base, objects, manifest) as checkpoint:
        found = fingerprint_checkpoint(checkpoint, silent)
    was = {tensor.name: tensor for tensor in manifest.tensors}
    now = {tensor.name: tensor for tensor in found.tensors}
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield f"tensor {name!r} of {base.link} is not what it was when the base was added"


def _container_problems(version: VersionRecord, objects: ObjectStore) -> Iterator[str]:
    with Container(objects.path(version.container)) as container:
        digest = container.check_file()
        if container.header.base_digest != version.base:
            yield "the container was made against another base than the catalog says"
        if container.header.source.sha256 != version.source.sha256:
            yield "the container was made from another source than the catalog says"
    if digest != version.container:
        yield f"object {version.container} is damaged: its bytes have another SHA-256"


def _residual_problems(version: VersionRecord, objects: ObjectStore) -> Iterator[str]:
    """Of the residual of a version that has one."""
    from ..residual.reader import Residual  # numpy, which listing versions need not wait for

    assert version.residual is not None
    sha256 = version.residual.sha256
    objects.check(sha256)
    with Residual(objects.path(sha256)) as residual:
        if residual.header.container != version.container:
            yield f"object {sha256}, its residual, goes with another container"


def _lacking_base(version: VersionRecord, catalog: Catalog) -> Iterable[str]:
    base_of(version, catalog)
    return ()


def _result_problems(
    version: VersionRecord, catalog: Catalog, objects: ObjectStore
) -> Iterable[str]:
    # Only here are tensors needed, and torch with them.
    from ..reconstruction.proving import proven_by_digest

    with (
        open_version(version, catalog, objects) as (container, weights),
        proven_by_digest(container, weights) as recorded,
    ):
        recorded.check(recorded.made.digests())
    return ()


def _source_problems(
    version: VersionRecord, catalog: Catalog, objects: ObjectStore
) -> Iterable[str]:
    """Whether a lossless version gives its source."""
    from ..reconstruction.proving import proven_by_digest

    with (
        open_version(version, catalog, objects) as (container, weights),
        opened_lossless(version, objects) as lossless,
        proven_by_digest(container, weights, lossless) as recorded,
    ):
        recorded.check(recorded.made.digests())
    return ()
