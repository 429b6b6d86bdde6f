"""Storing of a fine-tune as a container, for each kind of request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import assert_never

from ..checkpoint import Checkpoint, TensorInfo
from ..codec.encode_lossless import encode_for_lossless
from ..codec.encode_tau import EncodeRequest, encode
from ..container.records import Encoding, TensorRecord
from ..errors import CheckpointError, HeaderTooLarge
from ..progress import Progress
from ..store import ObjectStore
from .container_builder import StoredContainer, check_storable, encoded, store
from .encode_tensor import Codec, PackedTensor, stored_tau, with_tau_rank
from .fine_tune import FineTune
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
    lossy = fine_tune.without_quantised()
    with large_headers_named(fine_tune.checkpoint):
        match request:
            case TauRequest():
                return _store_by_tau(lossy, request, device, objects, progress)
            case ErrorRequest():
                return store_by_error(lossy, request, device, objects, progress)
            case BudgetRequest():
                return store_by_budget(lossy, request, device, objects, progress)
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


@contextlib.contextmanager
def large_headers_named(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn the error of a header that no reader would take into a `CheckpointError`."""
    try:
        yield
    except HeaderTooLarge as error:
        raise CheckpointError(
            f"{checkpoint.path} has {len(checkpoint.tensors)} tensors, more than the header of a"
            f" container holds: {error}",
            "Store parts of it as checkpoints of their own.",
        ) from error
