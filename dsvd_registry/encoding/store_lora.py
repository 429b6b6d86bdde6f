"""Storing of a LoRA file as a container: the base with the LoRA merged into it at weight 1.

layers of the file -> tensors of the base -> records and parts -> container. Tensors that the file
does not change are `same`; the result has the base's names, dtypes and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..checkpoint import Checkpoint, LeftOut
from ..checkpoint.layout import canonical_layout
from ..checkpoint.safetensors_file import parse_header
from ..codec.encode_tau import EncodeRequest
from ..codec.tensor_order import in_order
from ..container.records import (
    Encoding,
    Omission,
    SameRecord,
    Source,
    TensorRecord,
    View,
    record_numbers,
)
from ..container.writer import PayloadWriter
from ..fs import storage_errors
from ..lora import Merge, check_whole, place_changes, read_adapter
from ..progress import Meter, Progress
from ..reconstruction.base_weights import BaseWeights
from ..store import ObjectStore
from .container_builder import (
    Contents,
    Draft,
    StoredContainer,
    add_parts,
    add_source_headers,
    check_storable,
    closed_header,
    source_headers,
    store,
    tree_of,
)
from .encode_tensor import PackedTensor
from .lora_merge import pack_merged
from .lora_request import LoraRequest
from .store_fine_tune import large_headers_named


def store_lora(
    checkpoint: Checkpoint,
    source: Source,
    base: BaseWeights,
    request: LoraRequest,
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> StoredContainer:
    """Encode the merged base into a new object.

    Raises `BaseMismatch` for a LoRA of another family and for a damaged base. Raises
    `CheckpointError` for changes that cannot be merged; if the request skips these, they are listed
    as left out of the source instead.
    """
    check_storable(checkpoint)
    with large_headers_named(base.checkpoint):
        return _store(checkpoint, source, base, request, device, objects, progress)


def _store(
    checkpoint: Checkpoint,
    source: Source,
    base: BaseWeights,
    request: LoraRequest,
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> StoredContainer:
    adapter = read_adapter(checkpoint, request.configuration)
    infos = base.tensors
    metadata = parse_header(checkpoint.header)[0] if checkpoint.header else None
    merge = place_changes(adapter, infos, checkpoint.path, base.name, metadata or {})
    refused = (*adapter.refused, *merge.refused)
    if not request.skip_unsupported or not merge.changes:
        check_whole(checkpoint.path, refused, is_all=not merge.changes)
    encode_request = EncodeRequest(request.tau, request.grid_noise, device=device)
    order = canonical_layout(infos.values(), {}).order
    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        payload = PayloadWriter(scratch)
        records = _encode(checkpoint, merge, order, base, encode_request, payload, progress)
        # If the base is a folder, the result is one, too.
        headers = source_headers(base.checkpoint) if base.checkpoint.tree is not None else []
        add_source_headers(payload, headers)
        left_out = (
            *(Omission.of(LeftOut(layer.tensor, layer.reason)) for layer in refused),
            *map(Omission.of, checkpoint.left_out),
        )
        contents = Contents(
            Encoding(request.tau, request.grid_noise),
            source,
            left_out,
            tuple(records[name] for name in record_numbers(records)),
            tree_of(base.checkpoint, base),
        )
        header = closed_header(payload, base, contents, headers)
        return store(Draft(base, header, payload), objects, progress)


def _encode(
    checkpoint: Checkpoint,
    merge: Merge,
    order: tuple[str, ...],
    base: BaseWeights,
    encode_request: EncodeRequest,
    payload: PayloadWriter,
    progress: Progress,
) -> Mapping[str, TensorRecord]:
    """Encode the changed tensors in the order of their data, and return the records of all tensors."""
    records: dict[str, TensorRecord] = {
        t.name: SameRecord(t.name, t.dtype, t.shape, (t,), View(), 0) for t in base.tensors.values()
    }
    numbers = record_numbers(records)
    changed = [records[name] for name in order if name in merge.changes]
    meter = Meter(progress, "encoding", sum(record.nbytes for record in changed))

    def pack(record: TensorRecord) -> PackedTensor:
        name = record.name
        return pack_merged(
            checkpoint, merge.changes[name], base.tensors[name], base, encode_request
        )

    with in_order(pack, changed, lambda record: record.elements) as results:
        for packed in results:
            add_parts(payload, numbers[packed.record.name], packed)
            records[packed.record.name] = packed.record
            meter.advance(packed.record.nbytes)
    return records
