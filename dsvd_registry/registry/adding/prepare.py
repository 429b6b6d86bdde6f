"""Preparation of an addition: everything but its event, which `commit` writes.

A checkpoint is recognised, or encoded into a container; its residual, its original, its pictures and
files beside it become objects of the store. The result is a value that says what is to be recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...catalog import (
    AttachmentRecord,
    BaseRecord,
    NewAttachment,
    NewVersion,
    PreparedVersion,
    VersionRecord,
)
from ...catalog.metadata_edits import attached_twin
from ...checkpoint import Checkpoint, open_checkpoint
from ...checkpoint.safetensors_file import parse_header
from ...container.records import LORA_FORMAT, Header, Omission
from ...container.totals import Summary, summary_of
from ...encoding.lora_request import LoraRequest
from ...encoding.request import LosslessRequest, Request, weights_of, with_weights
from ...errors import InvalidArgument
from ...hashing import Source
from ...lora import is_lora
from ...progress import Progress
from ..describing.attachments import PREVIEW, put_attachment
from ..describing.taken_in import ToTakeIn, find_to_take_in
from ..repository import Repository
from ..results.result_listing import listing_of
from ..upkeep.originals import check_is_file, put_original
from ..upkeep.residuals import digests_of_restored, residual_of
from .add_request import AddRequest
from .commit import PreparedAddition
from .fingerprint import source_digests, source_of, unchanging


def prepare(
    path: Path,
    model: str,
    base: BaseRecord,
    request: AddRequest,
    repository: Repository,
    progress: Progress,
) -> PreparedAddition:
    """Prepare the checkpoint at `path` as the next version of `model`, or what its version lacks.

    A version with the same source, base and settings is recognised, and nothing is computed. If
    another model has such a version, the two share its container. A LoRA file is stored as the base
    with the LoRA merged in.

    A lossless request also stores a residual, or the original of a LoRA file; a recognised version
    that lacks it gets it.
    """
    keep_extras = request.keep_extras
    with (
        unchanging(path, keep_extras=keep_extras) as check_unchanged,
        open_checkpoint(path, request.weights, keep_extras=keep_extras) as checkpoint,
    ):
        fidelity = _fidelity(checkpoint, request)
        source = _source(checkpoint, fidelity, repository, progress)
        known = _known(source.sha256, base, fidelity, request.weights, model, repository)
        version: VersionRecord | NewVersion | None = known
        header = None
        if known is None or not repository.objects.is_whole(known.container):
            stored = _stored(checkpoint, source, base, fidelity, request, repository, progress)
            check_unchanged()
            header = stored.header
            if known is None or known.container != stored.version.container:
                known, version = None, stored.version
        assert version is not None
        original = residual = None
        if request.lossless and isinstance(fidelity, LoraRequest):
            original = put_original(source, path, repository, progress)
        elif request.lossless:
            residual = residual_of(version, checkpoint, base, request.device, repository, progress)
            check_unchanged()
        left_out = tuple(Omission.of(entry) for entry in checkpoint.left_out)
        own = parse_header(checkpoint.header)[0] if checkpoint.header else None
    upgraded = request.lossless and known is not None and not known.is_lossless
    described = _described(model, known, own or {}, path, request, repository)
    listings = None
    if header is not None or (residual is not None and (known is None or upgraded)):
        listings = listing_of(version.container, residual, header, repository)
    if known is not None:
        residual = None if residual == known.residual else residual
        original = None if known.original is not None else original
    return PreparedAddition(
        PreparedVersion(
            model,
            version.number if isinstance(version, VersionRecord) else version,
            note="" if known is not None and request.note == known.note else request.note,
            tags=tuple(tag for tag in request.tags if known is None or tag not in known.tags),
            residual=residual,
            restored={} if residual is None else digests_of_restored(residual, source, repository),
            original=original,
            metadata=described.metadata,
            found_metadata=described.found.entries,
            attachments=(*described.preview, *described.found.attachments),
        ),
        known,
        upgraded,
        left_out,
        frozenset(one.name for one in described.found.attachments),
        described.found.left_out,
        listings,
    )


@dataclass(frozen=True)
class _Described:
    """The metadata and the preview that were asked for and are new, and what was found besides."""

    metadata: Mapping[str, str]
    preview: tuple[NewAttachment, ...]
    found: ToTakeIn


def _described(
    model: str,
    known: VersionRecord | None,
    own: Mapping[str, str],
    path: Path,
    request: AddRequest,
    repository: Repository,
) -> _Described:
    """Find and store what describes a version; what was asked for comes before what is found.

    Raises `Conflict` if the version has another attachment of the preview's name.
    """
    kept: Mapping[str, str] = {}
    attached: list[AttachmentRecord | NewAttachment] = []
    if known is not None:
        kept = repository.catalog.metadata(known.ref)
        attached += repository.catalog.attachments(known.ref)
    metadata = {key: text for key, text in request.metadata.items() if kept.get(key) != text}
    ref = model if known is None else known.ref
    preview: tuple[NewAttachment, ...] = ()
    if request.preview is not None:
        new = put_attachment(request.preview, request.preview_name, PREVIEW, repository)
        if attached_twin(new, attached, ref) is None:
            preview = (new,)
    found = find_to_take_in(own, path, {**kept, **metadata}, (*attached, *preview), ref, repository)
    return _Described(metadata, preview, found)


@dataclass(frozen=True)
class _Stored:
    """A container in the store, as the version that it may become.

    `header`: None for a container of another model, which is not opened.
    """

    version: NewVersion
    header: Header | None


def _fidelity(checkpoint: Checkpoint, request: AddRequest) -> Request | LoraRequest:
    """The request for a full checkpoint, or the one for a LoRA file. Raises `InvalidArgument`."""
    if not is_lora(checkpoint.tensors):
        return request.fidelity
    if request.lossless:
        check_is_file(checkpoint.path)
    if checkpoint.tree is not None and checkpoint.tree.extras:
        raise InvalidArgument(
            f"{checkpoint.path} is the folder of a LoRA, of which only the layers are stored",
            "Leave keep_extras out.",
        )
    return LoraRequest.of(checkpoint, request.fidelity, request.skip_unsupported)


def _source(
    checkpoint: Checkpoint,
    fidelity: Request | LoraRequest,
    repository: Repository,
    progress: Progress,
) -> Source:
    format = LORA_FORMAT if isinstance(fidelity, LoraRequest) else checkpoint.format
    digest, size = source_of(checkpoint, repository.catalog, progress)
    return Source(format, digest, size)


def _known(
    source: str,
    base: BaseRecord,
    fidelity: Request | LoraRequest,
    weights: str | None,
    model: str,
    repository: Repository,
) -> VersionRecord | None:
    """The newest version of the model that was made from this source by the same request.

    A lossless request without a fidelity is met by every version of the source.
    """
    catalog = repository.catalog
    if not isinstance(fidelity, LosslessRequest):
        settings = with_weights(fidelity.settings(), weights)
        return catalog.find_version(source, base.digest, settings, model)
    newest = catalog.find_version(source, base.digest, None, model)
    if newest is None or weights_of(newest.settings) == weights:
        return newest
    live = [version for version in catalog.history(model) if version.removed is None]
    same = [v for v in live if (v.source.sha256, v.base) == (source, base.digest)]
    same = [version for version in same if weights_of(version.settings) == weights]
    return max(same, key=lambda version: version.number, default=None)


def _stored(
    checkpoint: Checkpoint,
    source: Source,
    base: BaseRecord,
    fidelity: Request | LoraRequest,
    request: AddRequest,
    repository: Repository,
    progress: Progress,
) -> _Stored:
    """A new container, or the equal one of another model."""
    settings = with_weights(fidelity.settings(), request.weights)

    def stored_version(
        container: str, size: int, summary: Summary, results: Mapping[str, Mapping[str, str]]
    ) -> NewVersion:
        sources = source_digests(checkpoint, repository.catalog, progress)
        digests = {"source": sources, "result": results}
        return NewVersion(container, size, base.digest, source, settings, summary, digests)

    twin = repository.catalog.find_version(source.sha256, base.digest, settings)
    if twin is not None and repository.objects.is_whole(twin.container):
        results = repository.catalog.result_digests(twin.container)
        version = stored_version(twin.container, twin.size, dict(twin.summary), results)
        return _Stored(version, None)
    # Only an encoding needs torch: a recognised version does not wait for its import.
    from ...encoding.fine_tune import FineTune
    from ...encoding.store_fine_tune import store_fine_tune
    from ...encoding.store_lora import store_lora

    objects, device = repository.objects, request.device
    with repository.open_base(base) as weights:
        if isinstance(fidelity, LoraRequest):
            stored = store_lora(checkpoint, source, weights, fidelity, device, objects, progress)
        else:
            fine_tune = FineTune.of(checkpoint, source, weights)
            stored = store_fine_tune(fine_tune, fidelity, device, objects, progress)
    summary, results = summary_of(stored.header), stored.result_digests
    return _Stored(stored_version(stored.sha256, stored.size, summary, results), stored.header)
