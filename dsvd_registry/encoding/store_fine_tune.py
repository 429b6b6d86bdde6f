"""Storing of a fine-tune as a container, for each kind of request.

That the records of its tensors fit into the header is checked early: the weight of a header is
limited (spec, "Limits"), and the records of some thousand tensors reach the limit. The check assumes
the lightest record that each tensor can get: `same` or `dense`, depending on its SHA-256, where a
delta can be taken, and `raw` elsewhere. If a tensor turns out low-rank, which is heavier, the same
error is raised later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import assert_never

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.tensor_info import DELTA_DTYPES
from ..codec.encode_lossless import encode_for_lossless
from ..codec.encode_tau import EncodeRequest, encode
from ..container.header import header_json
from ..container.records import (
    DenseRecord,
    Encoding,
    Frame,
    Header,
    Part,
    RawReason,
    RawRecord,
    SameRecord,
    TensorRecord,
)
from ..errors import CheckpointError, HeaderTooHeavy
from ..hashing import sha256
from ..progress import Progress
from ..store import ObjectStore
from .container_builder import StoredContainer, check_storable, encoded, store
from .encode_tensor import Codec, PackedTensor, stored_tau, with_tau_rank
from .fine_tune import Counterpart, FineTune
from .request import BudgetRequest, ErrorRequest, LosslessRequest, Request, TauRequest
from .water_filling import store_by_budget, store_by_error


def store_fine_tune(
    fine_tune: FineTune, request: Request, device: str, objects: ObjectStore, progress: Progress
) -> StoredContainer:
    """Encode a fine-tune into a new object.

    Raises `BaseMismatch` for a damaged base, `InvalidArgument` for a budget that cannot be met,
    `CheckpointError`, `StorageError`.
    """
    check_storable(fine_tune.checkpoint)
    check_header_fits(fine_tune)
    with heavy_headers_named(fine_tune.checkpoint):
        match request:
            case TauRequest():
                return _store_by_tau(fine_tune, request, device, objects, progress)
            case ErrorRequest():
                return store_by_error(fine_tune, request, device, objects, progress)
            case BudgetRequest():
                return store_by_budget(fine_tune, request, device, objects, progress)
            case LosslessRequest():
                return _store_for_lossless(fine_tune, device, objects, progress)
            case _:
                assert_never(request)


def _store_by_tau(
    fine_tune: FineTune, request: TauRequest, device: str, objects: ObjectStore, progress: Progress
) -> StoredContainer:
    encode_request = EncodeRequest(request.tau, request.grid_noise, request.keep_noise, device)

    def codec_of(_: TensorInfo) -> Codec:
        return lambda base, source, size_of: encode(base, source, encode_request, size_of)

    def finish(tensors: Mapping[str, PackedTensor]) -> tuple[Encoding, Mapping[str, TensorRecord]]:
        encoding = Encoding(request.tau, request.grid_noise)
        return encoding, {name: packed.record for name, packed in tensors.items()}

    with encoded(fine_tune, codec_of, finish, objects, progress) as draft:
        return store(draft, objects, progress)


def _store_for_lossless(
    fine_tune: FineTune, device: str, objects: ObjectStore, progress: Progress
) -> StoredContainer:
    def codec_of(_: TensorInfo) -> Codec:
        return lambda base, source, size_of: encode_for_lossless(base, source, device, size_of)

    def finish(tensors: Mapping[str, PackedTensor]) -> tuple[Encoding, Mapping[str, TensorRecord]]:
        tau = stored_tau(tensors)
        return Encoding(tau, 0.0), {n: with_tau_rank(packed, tau) for n, packed in tensors.items()}

    with encoded(fine_tune, codec_of, finish, objects, progress) as draft:
        return store(draft, objects, progress)


DIGEST = "0" * 64
HINT = (
    "Until a later format holds more, merge tensors of the checkpoint, or store parts of it"
    " as checkpoints of their own."
)


@contextlib.contextmanager
def heavy_headers_named(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn the error of a header that no reader would take into a `CheckpointError`."""
    try:
        yield
    except HeaderTooHeavy as error:
        raise _too_many(checkpoint) from error


def check_header_fits(fine_tune: FineTune) -> None:
    """Check that a header can describe all tensors. Raises `CheckpointError`."""
    checkpoint = fine_tune.checkpoint
    try:
        header_json(_lightest(fine_tune, {}))
    except HeaderTooHeavy as error:
        raise _too_many(checkpoint) from error
    try:
        header_json(_lightest(fine_tune, dict.fromkeys(checkpoint.tensors, True)))
    except HeaderTooHeavy:
        # It now matters which of the tensors have changed.
        changed = {name: _is_changed(fine_tune, info) for name, info in checkpoint.tensors.items()}
        try:
            header_json(_lightest(fine_tune, changed))
        except HeaderTooHeavy as error:
            raise _too_many(checkpoint) from error


def _too_many(checkpoint: Checkpoint) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.path} has {len(checkpoint.tensors)} tensors, more than the header of a"
        f" container holds: some 6,500 changed matrices, or 9,000 changed vectors",
        HINT,
    )


def _lightest(fine_tune: FineTune, changed: Mapping[str, bool]) -> Header:
    """The header of the lightest records; its only frame is that of raw bytes."""
    names = sorted(fine_tune.checkpoint.tensors, key=str.encode)
    records = tuple(
        _record(fine_tune, fine_tune.checkpoint.tensors[name], changed.get(name, False))
        for name in names
    )
    raw = [i for i, r in enumerate(records) if isinstance(r, RawRecord) and r.elements]
    frames = (Frame("bytes", tuple(Part(i, 1) for i in raw), 1, 1, "0" * 16),) if raw else ()
    return Header(
        base_digest=DIGEST,
        base_name=fine_tune.base.name,
        encoding=Encoding(1.0, 0.0),
        source=fine_tune.source,
        left_out=(),
        tensors=records,
        frames=frames,
        payload_sha256=DIGEST,
        results=(),
    )


def _record(fine_tune: FineTune, info: TensorInfo, is_changed: bool) -> TensorRecord:
    if info.name in fine_tune.casts:
        return fine_tune.casts[info.name]
    counterpart = fine_tune.counterparts.found.get(info.name)
    if counterpart is None:
        return _raw(info, fine_tune.counterparts.reasons[info.name])
    if info.dtype not in DELTA_DTYPES:
        return _raw(info, "dtype")  # or `same`, which is heavier
    based = (
        *(info.name, info.dtype, info.shape),
        *(counterpart.base.tensors, counterpart.base.view, counterpart.new_rows),
    )
    if not is_changed:
        return SameRecord(*based)
    return DenseRecord(*based, exponent=0, maximum=1, base_norm=1.0, norm=1.0, error=0.0)


def _raw(info: TensorInfo, reason: RawReason) -> RawRecord:
    return RawRecord(info.name, info.dtype, info.shape, reason)


def _is_changed(fine_tune: FineTune, info: TensorInfo) -> bool:
    """True if a tensor certainly differs from its base; False for other dtypes and views."""
    counterpart: Counterpart | None = fine_tune.counterparts.found.get(info.name)
    if counterpart is None or counterpart.new_rows or counterpart.base.view.kind != "reshape":
        return False
    (base,) = counterpart.base.tensors
    if base.dtype != info.dtype:
        return False
    digest = sha256(fine_tune.checkpoint.read(info.name))
    fine_tune.checkpoint.release(info.name)
    return digest != base.sha256
