"""The search for damage in objects, containers and bases; with `deep`, in the results of versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec

from ...catalog import BaseRecord, VersionRecord
from ...catalog.errors import DamagedCatalogError
from ...catalog.records import ResidualRecord
from ...container.reader import Container
from ...errors import DsvdError
from ...progress import Meter, Progress, silent
from ...signing import PublicKey
from ...store import StoredObject
from ...store.damage import damaged_events
from ...threads import threads
from ..adding.fingerprint import fingerprint_checkpoint
from ..describing.attachments import attachment_findings
from ..repository import Repository
from ..signing import signature_findings
from .findings import Finding, Verified, problem_of
from .residuals import open_lossless

if TYPE_CHECKING:
    from ...residual.records import ResidualHeader

P = ParamSpec("P")

CATALOG = ("catalog",)
DAMAGED_EVENT = (
    "is damaged: its bytes are not those of the event. The catalog still shows what happened: keep it, "
    "and do not rebuild it, until that file is put back from a copy of the registry"
)


def verify(
    repository: Repository,
    ref: str | None,
    *,
    deep: bool,
    signer: PublicKey | None,
    progress: Progress,
) -> Verified:
    """Look for damage in the version `ref` and its base, or in the whole registry if `ref` is None.

    `deep`: also make the result of each version in memory, and compare its SHA-256. `signer`: also
    report versions without a valid signature by this key. Raises `StorageError` if the machine refuses.
    """
    catalog = repository.catalog
    log_findings = verify_log(repository) if ref is None else ()
    if any(finding.subjects == CATALOG for finding in log_findings):
        # The catalog names the objects to check: with a damaged one no further check is reliable.
        return Verified(0, 0, 0, deep, log_findings)
    if ref is None:
        versions, bases = catalog.versions(), catalog.bases()
    else:
        versions = [catalog.version(ref)]
        bases = [base for base in catalog.bases() if base.digest == versions[0].base]
    verified = verify_objects(versions, bases, repository, deep=deep, progress=progress)
    one = None if ref is None else versions[0].ref
    signatures = signature_findings(versions, catalog.signatures(one), signer, repository)
    attachments = attachment_findings(catalog.attachments(one), repository)
    findings = (*log_findings, *verified.findings, *signatures, *attachments)
    return replace(verified, findings=findings)


def verify_log(repository: Repository) -> tuple[Finding, ...]:
    """Read every event, and compare the rows of the catalog with those that the events make.

    Raises `StorageError` if the machine refuses.
    """
    try:
        repository.catalog.check_log()
    except DamagedCatalogError as error:
        return (Finding(CATALOG, f"{error}; nothing else was checked"),)
    except DsvdError as error:
        problem = problem_of(error)
        damaged = damaged_events(repository.home, repository.catalog.last_event())
        there = (one.place for one in damaged if one.is_there)
        problems = [f"{place} {DAMAGED_EVENT}" for place in there] or [f"{problem}. {error.hint}"]
        return tuple(Finding(("event log",), problem) for problem in problems)
    return ()


def verify_objects(
    versions: list[VersionRecord],
    bases: list[BaseRecord],
    repository: Repository,
    *,
    deep: bool,
    progress: Progress,
) -> Verified:
    """Check the objects of `versions` and the files of `bases`, in several threads.

    `deep`: also make the result of each version in memory. Raises `StorageError` if the machine refuses.
    """
    containers: dict[str, list[VersionRecord]] = defaultdict(list)
    for version in versions:
        containers[version.container].append(version)
    # The container is part of the key, because a residual must fit each container it is used with.
    residuals: dict[tuple[ResidualRecord, str], list[VersionRecord]] = defaultdict(list)
    for version in versions:
        if version.residual is not None:
            residuals[version.residual, version.container].append(version)
    originals: dict[StoredObject, list[VersionRecord]] = defaultdict(list)
    for version in versions:
        if version.original is not None:
            originals[version.original].append(version)
    total = sum(sharing[0].size for sharing in containers.values())
    total += sum(base.size for base in bases)
    total += sum(residual.size for residual, _ in residuals)
    total += sum(original.size for original in originals)
    meter = Meter(progress, "verifying", total)
    findings: list[Finding] = []
    with threads() as pool:
        of_bases = [pool.submit(_problems, _base_problems, base, repository) for base in bases]
        of_containers = [
            pool.submit(_problems, _container_problems, sharing[0], repository)
            for sharing in containers.values()
        ]
        of_residuals = [
            pool.submit(_problems, _residual_problems, having[0], repository)
            for having in residuals.values()
        ]
        of_originals = [
            pool.submit(_problems, _original_problems, original, repository)
            for original in originals
        ]
        for base, found in zip(bases, of_bases, strict=True):
            needed_by = (version.ref for version in versions if version.base == base.digest)
            findings += _findings((f"base {base.name}", *needed_by), found.result())
            meter.advance(base.size)
        for sharing, found in zip(containers.values(), of_containers, strict=True):
            problems = found.result() + _problems(_lacking_base, sharing[0], repository)
            if deep and not problems:
                problems = _problems(_result_problems, sharing[0], repository)
            findings += _findings((version.ref for version in sharing), problems)
            meter.advance(sharing[0].size)
        for ((residual, _), having), found in zip(residuals.items(), of_residuals, strict=True):
            problems = found.result()
            if deep and not problems:
                problems = _problems(_source_problems, having[0], repository)
            findings += _findings((version.ref for version in having), problems)
            meter.advance(residual.size)
        for (original, keeping), found in zip(originals.items(), of_originals, strict=True):
            findings += _findings((version.ref for version in keeping), found.result())
            meter.advance(original.size)
    return Verified(len(versions), len(bases), total, deep, tuple(findings))


def _findings(subjects: Iterable[str], problems: list[str]) -> list[Finding]:
    named = tuple(subjects)
    return [Finding(named, problem) for problem in problems]


def _problems(look: Callable[P, Iterable[str]], *where: P.args, **how: P.kwargs) -> list[str]:
    """The problems that `look` finds; an error that it raises is the last of them.

    Raises `StorageError` if the machine refuses.
    """
    found: list[str] = []
    try:
        found.extend(look(*where, **how))
    except DsvdError as error:
        found.append(problem_of(error))
    return found


def _base_problems(base: BaseRecord, repository: Repository) -> Iterator[str]:
    manifest = repository.manifest(base)
    if base.link is None:
        repository.objects.check(base.file)
        if base.is_folder:
            for file in repository.listing(base):
                repository.objects.check(file.sha256)
        return
    with repository.open_base_checkpoint(base, manifest) as checkpoint:
        found = fingerprint_checkpoint(checkpoint, silent)
    was = {tensor.name: tensor for tensor in manifest.tensors}
    now = {tensor.name: tensor for tensor in found.tensors}
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield f"tensor {name!r} of {base.link} is not what it was when the base was added"


def _container_problems(version: VersionRecord, repository: Repository) -> Iterator[str]:
    with Container(repository.objects.open(version.container)) as container:
        digest = container.check_file()
        if container.header.base_digest != version.base:
            yield "the container was made against another base than the catalog says"
        if container.header.source.sha256 != version.source.sha256:
            yield "the container was made from another source than the catalog says"
    if digest != version.container:
        yield f"object {version.container} is damaged: its bytes have another SHA-256"


def residual_problems(version: VersionRecord, header: ResidualHeader) -> Iterator[str]:
    """The problems of a residual whose header is not what the catalog says of its version."""
    if header.container != version.container:
        yield f"its residual belongs to another container, {header.container}"


def _residual_problems(version: VersionRecord, repository: Repository) -> Iterator[str]:
    """The problems of the residual of a version that has one."""
    from ...residual.reader import Residual  # numpy, which listing versions need not wait for

    assert version.residual is not None
    sha256 = version.residual.sha256
    repository.objects.check(sha256)
    with Residual(repository.objects.open(sha256)) as residual:
        yield from residual_problems(version, residual.header)


def _original_problems(original: StoredObject, repository: Repository) -> Iterable[str]:
    repository.objects.check(original.sha256)
    return ()


def _lacking_base(version: VersionRecord, repository: Repository) -> Iterable[str]:
    repository.base_of(version)
    return ()


def _result_problems(version: VersionRecord, repository: Repository) -> Iterable[str]:
    """The problems of the result of a version's container, found by making it."""
    from ...reconstruction.recorded_digest import proven_by_digest

    with (
        repository.open_version(version) as (container, weights),
        proven_by_digest(container, weights) as recorded,
    ):
        recorded.check(recorded.made.digests())
    return ()


def _source_problems(version: VersionRecord, repository: Repository) -> Iterable[str]:
    """The problems of the source that a lossless version gives, found by making it."""
    from ...reconstruction.recorded_digest import proven_by_digest

    with (
        repository.open_version(version) as (container, weights),
        open_lossless(version, repository) as lossless,
        proven_by_digest(container, weights, lossless) as recorded,
    ):
        recorded.check(recorded.made.digests())
    return ()
