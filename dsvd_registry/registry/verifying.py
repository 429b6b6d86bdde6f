"""Looking for damage: objects, containers, bases; deep: what each version gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ParamSpec

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..container.reader import Container
from ..errors import DsvdError
from ..progress import Meter, Progress, silent
from ..store import ObjectStore
from ..threads import threads
from .identity import fingerprint_checkpoint
from .opening import (
    base_of,
    open_base_checkpoint,
    open_version,
    read_manifest,
    stored_listing,
)

P = ParamSpec("P")


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


def verify_log(catalog: Catalog) -> tuple[Finding, ...]:
    """Read every event, which only a rebuild of the catalog would otherwise do."""
    try:
        catalog.check_log()
    except DsvdError as error:
        return (Finding(("event log",), str(error)),)
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
    total = sum(hit[0].size for hit in containers.values()) + sum(base.size for base in bases)
    meter = Meter(progress, "verifying", total)
    findings: list[Finding] = []
    with threads() as pool:
        of_bases = [pool.submit(_problems, _base_problems, base, objects) for base in bases]
        of_containers = [
            pool.submit(_problems, _container_problems, sharing[0], objects)
            for sharing in containers.values()
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
    with open_base_checkpoint(base, objects) as checkpoint:
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


def _lacking_base(version: VersionRecord, catalog: Catalog) -> Iterable[str]:
    base_of(version, catalog)
    return ()


def _result_problems(
    version: VersionRecord, catalog: Catalog, objects: ObjectStore
) -> Iterable[str]:
    # Only here are tensors needed, and torch with them.
    from ..reconstruction.proving import check_recorded, proven_by_digest

    with (
        open_version(version, catalog, objects) as (container, weights),
        proven_by_digest(container, weights) as reconstruction,
    ):
        check_recorded(container, reconstruction.digests())
    return ()
