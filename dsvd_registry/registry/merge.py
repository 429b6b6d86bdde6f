"""Merges: weighted sums of versions of one base, as new versions."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import canonical
from ..catalog import BaseRecord, VersionRecord
from ..container.frames import CACHED_BYTES
from ..container.header import recipe_object
from ..container.records import MERGE_FORMAT, LayerRule, MergedVersion, MergeRecipe
from ..container.totals import summary_of
from ..encoding.request import DEFAULT_GRID_NOISE, ErrorRequest, TauRequest, checked_error
from ..errors import BaseMismatch, InvalidArgument
from ..hashing import Source, sha256
from ..progress import Progress
from ..store.event_fields import MAX_TEXT
from ..tau import checked_tau
from .adding.add import check_model
from .adding.add_request import checked_labels, labelled
from .adding.commit import Addition
from .merge_options import MergeOptions, with_recipe
from .repository import Repository

if TYPE_CHECKING:  # torch, which a recognised merge does not wait for
    from ..encoding.container_builder import StoredContainer

MERGE_TAU = 1.0  # the default: nothing of the sum is left out
ALL_CACHED_BYTES = 8 * CACHED_BYTES  # of decompressed frames, for all versions together


def merge_versions(
    weighted: Sequence[tuple[str, float]],
    model: str,
    options: MergeOptions,
    repository: Repository,
    progress: Progress,
) -> Addition:
    """Store the weighted sum of versions as the next version of `model`; see `Registry.merge`.

    A sum of the same containers by the same weights and fidelity is recognised, and nothing is
    computed.
    """
    check_model(model, repository)
    note = options.get("note", "")
    tags = checked_labels(options.get("tags", ()), note)
    request = _request(options.get("tau"), options.get("max_error"))
    versions = [repository.catalog.version(ref) for ref, _ in weighted]
    base = _one_base(versions, repository)
    recipe = _recipe(versions, [weight for _, weight in weighted], options, repository)
    settings = with_recipe(request.settings(), recipe)
    if len(settings) > MAX_TEXT:
        raise InvalidArgument(
            f"the recipe of {len(recipe.versions)} versions has more than {MAX_TEXT} characters",
            "Merge some of them first, then the results.",
        )
    source = _source(request, recipe)
    known = repository.catalog.find_version(source.sha256, base.digest, None, model)
    if known is not None and repository.objects.is_whole(known.container):
        return Addition(labelled(known, note, tags, repository), created=False)
    twin = repository.catalog.find_version(source.sha256, base.digest, None)
    if twin is not None and repository.objects.is_whole(twin.container):
        container, size, summary = twin.container, twin.size, dict(twin.summary)
        digests = repository.catalog.result_digests(container)
    else:
        stored = _stored(recipe, source, base, request, repository, progress)
        container, size, summary = stored.sha256, stored.size, summary_of(stored.header)
        digests = stored.result_digests
    version = repository.catalog.add_version(
        model,
        container=container,
        size=size,
        base=base.digest,
        source=source,
        settings=settings,
        summary=summary,
        note=note,
        tags=tags,
        digests={"result": digests},
        confirm=lambda: repository.objects.require(container),
    )
    return Addition(labelled(version, note, tags, repository), created=True)


def _request(tau: float | None, max_error: float | None) -> TauRequest | ErrorRequest:
    if tau is not None and max_error is not None:
        raise InvalidArgument("both tau and max_error are given", "Give one of them.")
    if max_error is not None:
        return ErrorRequest(checked_error(max_error))
    tau = MERGE_TAU if tau is None else checked_tau(tau)
    return TauRequest(tau, DEFAULT_GRID_NOISE, keep_noise=False)


def _one_base(versions: Sequence[VersionRecord], repository: Repository) -> BaseRecord:
    """The base of all versions. Raises `InvalidArgument` without a version, `BaseMismatch`."""
    if not versions:
        raise InvalidArgument("no version is given to merge", "Give some, such as subject-42:0.5.")
    first = versions[0]
    for version in versions[1:]:
        if version.base != first.base:
            raise BaseMismatch(
                f"{first.ref} is a version of the base {first.base_name or first.base},"
                f" {version.ref} of {version.base_name or version.base}",
                "Only versions of one base can be merged.",
            )
    return repository.base_of(first)


def _recipe(
    versions: Sequence[VersionRecord],
    weights: Sequence[float],
    options: MergeOptions,
    repository: Repository,
) -> MergeRecipe:
    """The recipe: one entry for each container, none of weight 0 unless all are.

    Raises `InvalidArgument` for weights that are no numbers, and for versions that are not merged.
    """
    merged: dict[str, MergedVersion] = {}
    for version, weight in zip(versions, weights, strict=True):
        known = merged.get(version.container, MergedVersion(version.ref, version.container, 0.0))
        total = _finite(known.weight + weight, version.ref)
        merged[version.container] = replace(known, weight=total)

    def container_of(ref: str) -> str:
        version = repository.catalog.version(ref)
        if version.container not in merged:
            raise InvalidArgument(
                f"{version.ref} is none of the versions that are merged",
                f"They are {', '.join(one.name for one in merged.values())}.",
            )
        return version.container

    rules = tuple(
        LayerRule(
            one.pattern,
            _finite(one.weight, one.pattern),
            None if one.ref is None else container_of(one.ref),
        )
        for one in options.get("layers", ())
    )
    taken = options.get("take_from")
    take_from = None if taken is None else container_of(taken)
    kept = [one for one in merged.values() if one.weight] or list(merged.values())[:1]
    containers = {one.container for one in kept}
    if take_from is not None and take_from not in containers:
        raise InvalidArgument(
            f"{taken} has the weight 0, and nothing can be taken from it",
            "Give it a weight, or take from another version.",
        )
    return MergeRecipe(
        tuple(kept),
        tuple(rule for rule in rules if rule.container in (None, *containers)),
        take_from,
    )


def _finite(weight: float, what: str) -> float:
    if not math.isfinite(weight):
        raise InvalidArgument(
            f"the weight {weight} of {what} is not a number", "Give one like 0.5."
        )
    return float(weight) + 0.0  # -0.0 becomes 0.0


def _source(request: TauRequest | ErrorRequest, recipe: MergeRecipe) -> Source:
    """The digest of what the sum is made of and how; the names of versions are no part of it."""
    value = recipe_object(recipe)
    for version in value["versions"]:
        del version["name"]
    text = canonical.encode({"merge": value, "request": json.loads(request.settings())})
    return Source(MERGE_FORMAT, sha256(text), len(text))


def _stored(
    recipe: MergeRecipe,
    source: Source,
    base: BaseRecord,
    request: TauRequest | ErrorRequest,
    repository: Repository,
    progress: Progress,
) -> StoredContainer:
    # Only an encoding needs torch: a recognised merge does not wait for its import.
    from ..container.reader import Container
    from ..encoding.merge_tensor import MergeSource, OpenMerge
    from ..encoding.store_merge import store_merge

    cached = min(CACHED_BYTES, ALL_CACHED_BYTES // len(recipe.versions))
    with contextlib.ExitStack() as opened:
        sources = []
        for version in recipe.versions:
            file = repository.objects.open_checked(version.container)
            container = opened.enter_context(Container(file, cached))
            sources.append(MergeSource(version.name, container))
        weights = opened.enter_context(repository.open_base(base))
        merge = OpenMerge(recipe, sources, source, weights)
        return store_merge(merge, request, repository.objects, progress)
