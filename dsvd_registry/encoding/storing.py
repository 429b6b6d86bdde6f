"""A fine-tune stored as was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from ..checkpoint import TensorInfo
from ..codec.encode import Settings, encode
from ..codec.least_total import encode_for_lossless
from ..container.records import Encoding, TensorRecord
from ..progress import Progress
from ..store import ObjectStore, StoredObject
from .asked import Asked, ByBudget, ByError, ByTau, ForLossless
from .building import check_storable, encoded, store
from .fine import Fine
from .header_weight import check_header_fits, heavy_headers_named
from .levelling import store_by_budget, store_by_error
from .one_tensor import Codec, PackedTensor
from .stored_tau import stored_tau, with_tau_rank


def store_fine_tune(
    fine: Fine, asked: Asked, device: str, objects: ObjectStore, progress: Progress
) -> StoredObject:
    """Encode a fine-tune into a new object.

    Raises `BaseMismatch` for a damaged base, `InvalidArgument` for a budget that cannot be met,
    `CheckpointError`, `StorageError`.
    """
    check_storable(fine.checkpoint)
    check_header_fits(fine)
    with heavy_headers_named(fine.checkpoint):
        match asked:
            case ByTau():
                return _store_by_tau(fine, asked, device, objects, progress)
            case ByError():
                return store_by_error(fine, asked, device, objects, progress)
            case ByBudget():
                return store_by_budget(fine, asked, device, objects, progress)
            case ForLossless():
                return _store_for_lossless(fine, device, objects, progress)
            case _:
                assert_never(asked)


def _store_by_tau(
    fine: Fine, asked: ByTau, device: str, objects: ObjectStore, progress: Progress
) -> StoredObject:
    settings = Settings(asked.tau, asked.grid_noise, asked.keep_noise, device)

    def codec_of(_: TensorInfo) -> Codec:
        return lambda base, source, size_of: encode(base, source, settings, size_of)

    def finish(made: Mapping[str, PackedTensor]) -> tuple[Encoding, Mapping[str, TensorRecord]]:
        encoding = Encoding(asked.tau, asked.grid_noise)
        return encoding, {name: packed.record for name, packed in made.items()}

    with encoded(fine, codec_of, finish, objects, progress) as draft:
        return store(draft, objects, progress)


def _store_for_lossless(
    fine: Fine, device: str, objects: ObjectStore, progress: Progress
) -> StoredObject:
    def codec_of(_: TensorInfo) -> Codec:
        return lambda base, source, size_of: encode_for_lossless(base, source, device, size_of)

    def finish(made: Mapping[str, PackedTensor]) -> tuple[Encoding, Mapping[str, TensorRecord]]:
        tau = stored_tau(made)
        return Encoding(tau, 0.0), {n: with_tau_rank(packed, tau) for n, packed in made.items()}

    with encoded(fine, codec_of, finish, objects, progress) as draft:
        return store(draft, objects, progress)
