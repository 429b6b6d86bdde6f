"""Looking for damage: objects, containers, bases; deep: what each version gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..container.reader import Container
from ..errors import DsvdError
from ..hashing import sha256_file
from ..store import ObjectStore
from .opening import base_file, base_of, fingerprint_checkpoint, open_version, read_manifest
from .progress import Meter, Progress, silent


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
    """Check the containers of `versions` and the files of `bases`; `deep` materialises in memory."""
    containers: dict[str, list[VersionRecord]] = defaultdict(list)
    for version in versions:
        containers[version.container].append(version)
    total = sum(hit[0].size for hit in containers.values()) + sum(base.size for base in bases)
    meter = Meter(progress, "verifying", total)
    findings: list[Finding] = []
    for base in bases:
        needed_by = tuple(version.ref for version in versions if version.base == base.digest)
        findings += _findings((f"base {base.name}", *needed_by), _base_problems(base, objects))
        meter.advance(base.size)
    for sharing in containers.values():
        refs = tuple(version.ref for version in sharing)
        found = _findings(refs, _container_problems(sharing[0], catalog, objects))
        if deep and not found:
            found = _findings(refs, _result_problems(sharing[0], catalog, objects))
        findings += found
        meter.advance(sharing[0].size)
    return Verified(len(versions), len(bases), total, deep, tuple(findings))


def _findings(subjects: tuple[str, ...], problems: Iterable[str]) -> list[Finding]:
    found: list[str] = []
    try:
        found.extend(problems)
    except DsvdError as error:
        found.append(str(error))
    return [Finding(subjects, problem) for problem in found]


def _base_problems(base: BaseRecord, objects: ObjectStore) -> Iterator[str]:
    manifest = read_manifest(base, objects)
    if base.link is None:
        objects.check(base.file)
        return
    found, _, _ = fingerprint_checkpoint(base_file(base, objects), silent)
    was = {tensor.name: tensor for tensor in manifest.tensors}
    now = {tensor.name: tensor for tensor in found.tensors}
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield f"tensor {name!r} of {base.link} is not what it was when the base was added"


def _container_problems(
    version: VersionRecord, catalog: Catalog, objects: ObjectStore
) -> Iterator[str]:
    path = objects.path(version.container)
    with Container(path) as container:
        container.check_payload()
        if container.header.base_digest != version.base:
            yield "the container was made against another base than the catalog says"
        if container.header.source.sha256 != version.source.sha256:
            yield "the container was made from another source than the catalog says"
    if sha256_file(path) != version.container:
        yield f"object {version.container} is damaged: its bytes have another SHA-256"
    base_of(version, catalog)


def _result_problems(
    version: VersionRecord, catalog: Catalog, objects: ObjectStore
) -> Iterator[str]:
    # Only here are tensors needed, and torch with them.
    from .reconstruction import Reconstruction

    with open_version(version, catalog, objects) as (container, weights):
        header = container.header
        found = Reconstruction(container, weights, header.encoding.tau).digest()
        expected = header.results[0]
        if (found.sha256, found.size) != (expected.sha256, expected.size):
            yield f"materialising gives SHA-256 {found.sha256}, not {expected.sha256}"
