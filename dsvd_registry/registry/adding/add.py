"""Addition of a version: a checkpoint is recognised, or encoded into a container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...catalog import BaseRecord, RecordedDigests, VersionRecord
from ...checkpoint import Checkpoint, open_checkpoint
from ...checkpoint.safetensors_file import parse_header
from ...container.records import Header, Omission
from ...container.totals import Summary, summary_of
from ...encoding.lora_request import SOURCE_FORMAT, LoraRequest
from ...encoding.request import LosslessRequest, Request, weights_of, with_weights
from ...errors import Conflict, InvalidArgument
from ...hashing import Source
from ...lora import is_lora
from ...progress import Progress
from ...store import names
from ..describing.attachments import PREVIEW, attach_bytes
from ..describing.taken_in import NOTHING, TakenIn, take_in
from ..repository import Repository
from ..results.result_listing import remember_files
from ..upkeep.originals import check_is_file, keep_original
from ..upkeep.residuals import attach_residual, residual_of
from .add_request import AddOptions, AddRequest, add_request, labelled
from .best_base import best_base
from .fingerprint import source_digests, source_of, unchanging
from .known_models import named_files
from .model_names import USUAL_NAMES, ascii_name


@dataclass(frozen=True)
class Addition:
    """The result of `add`.

    `created`: False if the version existed already. `upgraded`: the version existed, was lossy, and
    is lossless now. `left_out`: what was left out of the
    path that was given, also where an earlier container of the same source is shared. `taken_in`: the
    metadata and attachments that were found in the file and beside it.
    """

    version: VersionRecord
    created: bool
    upgraded: bool = False
    left_out: tuple[Omission, ...] = ()
    taken_in: TakenIn = NOTHING

    @property
    def ref(self) -> str:
        return self.version.ref


def add_one(
    path: Path,
    name: str | None,
    options: AddOptions,
    repository: Repository,
    progress: Progress,
) -> Addition:
    """Store a checkpoint as the next version of a model; see `Registry.add`."""
    if name is not None and options.get("name_from") is not None:
        raise InvalidArgument("both a name and name_from are given", "Give one of them.")
    request = add_request(options, repository)
    catalog, base = repository.catalog, request.base
    if base is None:
        base = catalog.base(best_base(path, catalog.bases(), repository, request.weights).sure())
    model = name or named_files([path], request.names, repository)[0].model
    return add_version(path, model, base, request, repository, progress)


def add_version(
    path: Path,
    model: str,
    base: BaseRecord,
    request: AddRequest,
    repository: Repository,
    progress: Progress,
) -> Addition:
    """Store the checkpoint at `path` as the next version of `model`, or find the version that has it.

    A version with the same source, base and settings is recognised, and nothing is computed. If
    another model has such a version, the two share its container. A LoRA file is stored as the base
    with the LoRA merged in.

    A lossless request also stores a residual, or the original of a LoRA file; a recognised version
    that lacks it gets it.
    """
    check_model(model, repository)
    keep_extras = request.keep_extras
    with (
        unchanging(path, keep_extras=keep_extras) as check_unchanged,
        open_checkpoint(path, request.weights, keep_extras=keep_extras) as checkpoint,
    ):
        fidelity = _fidelity(checkpoint, request)
        settings = with_weights(fidelity.settings(), request.weights)
        source = _source(checkpoint, fidelity, repository, progress)
        header = None
        known = _known(source.sha256, base, fidelity, request.weights, model, repository)
        if known is not None and repository.objects.is_whole(known.container):
            version, created = known, False
        else:
            stored = _stored(
                checkpoint, source, base, fidelity, settings, request.device, repository, progress
            )
            check_unchanged()
            header = stored.header
            if known is not None and known.container == stored.sha256:  # its lost object is back
                version, created = known, False
            else:
                digests = {
                    "source": source_digests(checkpoint, repository.catalog, progress),
                    "result": stored.result_digests,
                }
                version = _new_version(
                    model, source, base, settings, stored, digests, request, repository
                )
                created = True
        upgraded = request.lossless and not created and not version.is_lossless
        if request.lossless and isinstance(fidelity, LoraRequest):
            version = keep_original(version, path, repository, progress)
        elif request.lossless:
            residual = residual_of(version, checkpoint, base, request.device, repository, progress)
            check_unchanged()
            version = attach_residual(version, residual, repository)
        left_out = tuple(Omission.of(entry) for entry in checkpoint.left_out)
        own = parse_header(checkpoint.header)[0] if checkpoint.header else None
    if created or upgraded:
        remember_files(version, header, repository)
    version = labelled(version, request.note, request.tags, repository)
    _describe(version, request, repository)
    taken_in = take_in(version, own or {}, path, repository)
    return Addition(version, created, upgraded, left_out, taken_in)


def _describe(version: VersionRecord, request: AddRequest, repository: Repository) -> None:
    """Set the metadata and the preview that were asked for, before any is taken in from files."""
    if request.metadata:
        repository.catalog.set_metadata(version.model, version.number, request.metadata)
    if request.preview is not None:
        attach_bytes(version, request.preview, request.preview_name, PREVIEW, repository)


@dataclass(frozen=True)
class _Stored:
    """A container in the store: its SHA-256, its size in bytes, and the figures that `ls` shows.

    `result_digests`: those of the files that it gives. `header`: None for a container of another
    model, which is not opened.
    """

    sha256: str
    size: int
    summary: Summary
    result_digests: Mapping[str, Mapping[str, str]]
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
    format = SOURCE_FORMAT if isinstance(fidelity, LoraRequest) else checkpoint.format
    digest, size = source_of(checkpoint, repository.catalog, progress)
    return Source(format, digest, size)


def _new_version(
    model: str,
    source: Source,
    base: BaseRecord,
    settings: str,
    stored: _Stored,
    digests: RecordedDigests,
    request: AddRequest,
    repository: Repository,
) -> VersionRecord:
    return repository.catalog.add_version(
        model,
        container=stored.sha256,
        size=stored.size,
        base=base.digest,
        source=source,
        settings=settings,
        summary=stored.summary,
        note=request.note,
        tags=request.tags,
        digests=digests,
        confirm=lambda: repository.objects.require(stored.sha256),
    )


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
    settings: str,
    device: str,
    repository: Repository,
    progress: Progress,
) -> _Stored:
    """A new container, or the equal one of another model."""
    twin = repository.catalog.find_version(source.sha256, base.digest, settings)
    if twin is not None and repository.objects.is_whole(twin.container):
        known = repository.catalog.result_digests(twin.container)
        return _Stored(twin.container, twin.size, dict(twin.summary), known, None)
    # Only an encoding needs torch: a recognised version does not wait for its import.
    from ...encoding.fine_tune import FineTune
    from ...encoding.store_fine_tune import store_fine_tune
    from ...encoding.store_lora import store_lora

    objects = repository.objects
    with repository.open_base(base) as weights:
        if isinstance(fidelity, LoraRequest):
            stored = store_lora(checkpoint, source, weights, fidelity, device, objects, progress)
        else:
            fine_tune = FineTune.of(checkpoint, source, weights)
            stored = store_fine_tune(fine_tune, fidelity, device, objects, progress)
    summary, digests = summary_of(stored.header), stored.result_digests
    return _Stored(stored.sha256, stored.size, summary, digests, stored.header)


def name_of(path: Path) -> str:
    """The default name of a model, made from the name of the path. Raises `StorageError`."""
    return ascii_name(USUAL_NAMES.raw_name(path))


def check_model(name: str, repository: Repository) -> None:
    """Check the name of a model before the long work; the catalog checks it again.

    Raises `InvalidArgument`, and `Conflict` if another model's name differs in case alone.
    """
    names.check_name("model", name)
    for model in repository.catalog.models():
        if names.folded(model.name) == names.folded(name) and model.name != name:
            raise Conflict(
                f"there is a model {model.name}, which differs from {name} in case alone",
                f"Use --name {model.name}, or another name.",
            )
