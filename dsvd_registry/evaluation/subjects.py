"""The subjects of an evaluation, and the models of each: planned before a picture is painted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..catalog import VersionRecord
from ..checkpoint import open_checkpoint
from ..checkpoint.tensor_info import tensor_bytes
from ..encoding.request import weights_of
from ..errors import InvalidArgument, TauNotServed
from ..hashing import sha256_file
from ..registry import Registry
from ..registry.accounts import version_text
from . import prompts
from .files import folder_digest
from .models import (
    AS_STORED,
    BASE,
    FINE_TUNE,
    NOISE,
    LoraWeights,
    Model,
    PipelineWeights,
    Rounding,
    SourceWeights,
    Subject,
    VersionWeights,
    source_identity,
)
from .request import EvaluationRequest
from .rounding import rounded_size
from .source_tensors import infos_of_version


def planned_subjects(request: EvaluationRequest, registry: Registry) -> tuple[Subject, ...]:
    """The subjects with their models, in the order of the request. Nothing is painted or loaded.

    Raises:
        NotFound: for an unknown ref.
        InvalidArgument: for a subject without words, photographs or prompts.
        TauNotServed: for a tau that a version does not serve.
        CheckpointError: for a file that is no fine-tune.
    """
    return tuple(
        _subject(number, registry.version(ref), request, registry)
        for number, ref in enumerate(request.refs)
    )


def _subject(
    number: int, version: VersionRecord, request: EvaluationRequest, registry: Registry
) -> Subject:
    words, noun = _words(version, request, registry)
    templates = prompts.templates(request.prompts, noun)
    full = request.full[number] if request.full else None
    fine_tune, remark = _fine_tune(version, full, registry)
    models = [
        Model(BASE, PipelineWeights(), {"base": version.base}, 0),
        fine_tune,
        *_rounded(fine_tune, ("fp16", *request.roundings), registry),
        *_stored(version, request.taus, registry),
        *(
            replace(model, label=label)
            for label, refs in request.others.items()
            for model in _stored(registry.version(refs[number]), (), registry)
        ),
    ]
    for label, files in request.loras.items():
        file = files[number]
        identity = {"base": version.base, "lora": sha256_file(file)}
        models.append(Model(label, LoraWeights(file), identity, file.stat().st_size))
    return Subject(
        ref=version.ref,
        words=words,
        noun=noun,
        prompts=tuple(prompts.filled(one, words) for one in templates),
        plain_prompts=tuple(prompts.filled(one, noun) for one in templates),
        photographs=_photographs(version, request),
        models=tuple(models),
        remark=remark,
    )


def _words(
    version: VersionRecord, request: EvaluationRequest, registry: Registry
) -> tuple[str, str]:
    """The words for the subject in prompts, and for its kind: as asked, or from the metadata."""
    known = registry.metadata(version.ref)
    trigger = known.get("trigger", "")
    noun = request.noun or known.get("class") or trigger.partition(" ")[2]
    words = f"{request.token} {noun}" if request.token else trigger
    if not words or not noun:
        raise InvalidArgument(
            f"nothing says by what words prompts call {version.ref}",
            "Give --token and --class, or set its metadata `trigger`, such as: sks dog.",
        )
    return words, noun


def _photographs(version: VersionRecord, request: EvaluationRequest) -> Path | None:
    if request.reference is None:
        return None
    own = request.reference / version.model
    if own.is_dir():
        return own
    if len(request.refs) > 1:
        raise InvalidArgument(
            f"{request.reference} has no folder {version.model}",
            "With several versions, give a folder with a folder of photographs for each model.",
        )
    return request.reference


def _fine_tune(version: VersionRecord, full: Path | None, registry: Registry) -> tuple[Model, str]:
    """The fine-tune, and what must be said of it where it is not surely the version's source."""
    if full is not None:
        return _given(full, version)
    for known in (version, *_of_one_source(version, registry)):
        if known.residual is not None:
            identity = source_identity(version.source.sha256, weights_of(version.settings))
            return Model(FINE_TUNE, SourceWeights(known.ref), identity, version.source.size), ""
    # An original alone is a LoRA file, and no fine-tune.
    kept = "merged" if version.original else version_text.fidelity(version) or "merged"
    stands_in = (
        f"Neither a file of the fine-tune nor a lossless version of it was given: {version.ref} as it "
        f"is stored ({kept}) stands in for the fine-tune."
    )
    return (
        Model(
            FINE_TUNE,
            SourceWeights(version.ref),
            {"base": version.base, "container": version.container, "tau": _tau(version, registry)},
            version.source.size,
        ),
        stands_in,
    )


def _given(full: Path, version: VersionRecord) -> tuple[Model, str]:
    """The file or folder that was given for the fine-tune of a version, and what must be said of it."""
    digest = folder_digest(full) if full.is_dir() else sha256_file(full)
    is_source = digest == version.source.sha256
    entry = weights_of(version.settings) if is_source else None
    with open_checkpoint(full, entry) as checkpoint:
        size = sum(tensor_bytes(t.dtype, t.shape) for t in checkpoint.tensors.values())
    other = f"The fine-tune is {full.name}, which is not the file that {version.ref} was made of."
    return (
        Model(FINE_TUNE, SourceWeights(full, entry=entry), source_identity(digest, entry), size),
        "" if full.is_dir() or is_source else other,
    )


def _of_one_source(version: VersionRecord, registry: Registry) -> Iterator[VersionRecord]:
    """The versions that were made of the same file, and of the same weights in it."""
    digest, weights = version.source.sha256, weights_of(version.settings)
    for found in registry.repository.catalog.find_digest(digest) if digest else ():
        other = found.version
        if other.source.sha256 == digest and weights_of(other.settings) == weights:
            yield other


def _rounded(
    fine_tune: Model, roundings: tuple[Rounding, ...], registry: Registry
) -> Iterator[Model]:
    weights = fine_tune.weights
    assert isinstance(weights, SourceWeights)
    if isinstance(weights.source, str):
        infos = infos_of_version(weights.source, registry)
    else:
        with open_checkpoint(weights.source, weights.entry) as checkpoint:
            infos = dict(checkpoint.tensors)
    for rounding in roundings:
        yield Model(
            NOISE if rounding == "fp16" else rounding,
            replace(weights, rounding=rounding),
            {**fine_tune.identity, "rounding": rounding},
            rounded_size(infos.values(), rounding),
        )


def _stored(version: VersionRecord, taus: tuple[float, ...], registry: Registry) -> Iterator[Model]:
    stored = _tau(version, registry)
    points = registry.curve(version.ref, taus=taus or (stored,)).points
    for point in reversed(points):
        if point.size is None:
            raise TauNotServed(
                f"{version.ref} does not store tau {point.tau:g}, only up to {stored:g}",
                "Leave it out of --taus, or add the fine-tune again with a higher tau.",
            )
        yield Model(
            f"tau {point.tau:g}" if taus else AS_STORED,
            VersionWeights(version.ref, point.tau),
            {"base": version.base, "container": version.container, "tau": point.tau},
            point.size,
            point.tau,
        )


def _tau(version: VersionRecord, registry: Registry) -> float:
    with registry.repository.open_container(version) as container:
        return container.header.encoding.tau
