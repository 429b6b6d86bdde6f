"""Storing of a merge of versions as a container, from their containers alone.

records of all versions -> one sum for each tensor -> codec -> records and parts -> container. The
result has the tensors, the layout and the files of the first version.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..codec.encode_sum import DeltaSum
from ..codec.encode_tau import EncodeRequest, SizeOf
from ..codec.encoded import Encoded
from ..codec.integer_grid import OutsideGrid
from ..codec.tensor_order import in_order
from ..codec.water_level import Survey
from ..container.records import (
    Encoding,
    Part,
    QuantisedRecord,
    TensorRecord,
)
from ..container.rows import Run
from ..container.structure import stored_files
from ..container.writer import PayloadWriter
from ..errors import HeaderTooLarge, InvalidArgument
from ..fs import storage_errors
from ..progress import Meter, Progress
from ..store import ObjectStore
from .container_builder import (
    Contents,
    Draft,
    Finish,
    StoredContainer,
    add_parts,
    add_source_headers,
    closed_header,
    store,
)
from .encode_tensor import PackedTensor
from .merge_tensor import (
    OpenMerge,
    Term,
    check_layouts,
    data_order,
    left_out,
    matches,
    sum_of,
)
from .pack_merge import EncodeSum, not_finite, pack_sum, pack_taken, release_base
from .request import ErrorRequest, TauRequest
from .water_filling import Levels, store_within


def store_merge(
    merge: OpenMerge, request: TauRequest | ErrorRequest, objects: ObjectStore, progress: Progress
) -> StoredContainer:
    """Encode the sum into a new object.

    Raises `InvalidArgument` for tensors that have no sum and differ, for results that are not
    finite, and for a rule that matches no tensor; `BaseMismatch`, `ContainerError`, `StorageError`.
    """
    check_layouts(merge.sources)
    for source in merge.sources:
        if any(isinstance(t, QuantisedRecord) for t in source.container.header.tensors):
            raise InvalidArgument(
                f"{source.name} has quantised weights, which have no sum",
                "Merge versions of the weights before they were quantised.",
            )
    for rule in merge.recipe.layers:
        if not any(matches(rule.pattern, record.name) for record in merge.header.tensors):
            raise InvalidArgument(
                f"no tensor and no layer group is called {rule.pattern!r}",
                f"`dsvd show {merge.sources[0].name} --json` lists the tensors of the first version.",
            )
    try:
        if isinstance(request, ErrorRequest):
            return _store_within(merge, request, objects, progress)
        return _store_at_tau(merge, request, objects, progress)
    except HeaderTooLarge as error:
        raise InvalidArgument(
            f"the merge changes more tensors than the header of a container holds: {error}",
            "Merge fewer versions, or versions that change the same tensors.",
        ) from error


def _store_at_tau(
    merge: OpenMerge, request: TauRequest, objects: ObjectStore, progress: Progress
) -> StoredContainer:
    at_tau = EncodeRequest(request.tau, request.grid_noise)

    def encode(_: str, total: DeltaSum, size_of: SizeOf) -> Encoded:
        return total.encode(at_tau, size_of)

    def finish(tensors: Mapping[str, PackedTensor]) -> tuple[Encoding, Mapping[str, TensorRecord]]:
        records = {name: packed.record for name, packed in tensors.items()}
        return Encoding(request.tau, request.grid_noise), records

    with _merged(merge, encode, finish, objects, progress, is_whole=request.tau == 1) as draft:
        return store(draft, objects, progress)


def _store_within(
    merge: OpenMerge, request: ErrorRequest, objects: ObjectStore, progress: Progress
) -> StoredContainer:
    def draft_at(levels: Levels) -> contextlib.AbstractContextManager[Draft]:
        def encode(name: str, total: DeltaSum, size_of: SizeOf) -> Encoded:
            return total.encode_at(levels.target(name), size_of)

        return _merged(merge, encode, levels.finish, objects, progress, is_whole=False)

    surveys = _surveyed(merge, progress)
    return store_within(request.max_error, surveys, draft_at, objects, progress)


def _surveyed(merge: OpenMerge, progress: Progress) -> dict[str, Survey]:
    """The surveys by name of all tensors whose sum is stored as a delta."""
    tensors = merge.tensors()

    def surveyed(record: TensorRecord) -> tuple[TensorRecord, Survey | None]:
        plan = tensors.plan(record.name)
        if isinstance(plan, Term) or not plan.terms or plan.is_constant:
            return record, None
        try:
            found = sum_of(plan, merge.base).survey()
        except OutsideGrid:
            raise not_finite(record) from None
        release_base(plan, merge.base)
        return record, found

    surveys = {}
    meter = Meter(progress, "surveying", sum(t.nbytes for t in merge.header.tensors))
    with in_order(surveyed, data_order(merge.header, merge.sources[0]), _room) as results:
        for record, survey in results:
            if survey is not None:
                surveys[record.name] = survey
            meter.advance(record.nbytes)
    return surveys


@contextlib.contextmanager
def _merged(
    merge: OpenMerge,
    encode: EncodeSum,
    finish: Finish,
    objects: ObjectStore,
    progress: Progress,
    *,
    is_whole: bool,
) -> Iterator[Draft]:
    """Merge every tensor into a scratch file, which is deleted on leaving.

    `is_whole`: nothing of a sum is to be lost, so that a single delta of weight 1 stays as it is.
    """
    header, first, tensors = merge.header, merge.sources[0], merge.tensors()
    packed_tensors: dict[str, PackedTensor] = {}

    def pack(record: TensorRecord) -> PackedTensor:
        plan = tensors.plan(record.name)
        if isinstance(plan, Term):
            return pack_taken(plan, first)
        return pack_sum(plan, merge.base, encode, is_whole=is_whole)

    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        payload = PayloadWriter(scratch)
        meter = Meter(progress, "merging", sum(t.nbytes for t in header.tensors))
        with in_order(pack, data_order(header, first), _room) as results:
            for packed in results:
                name = packed.record.name
                add_parts(payload, first.places[name], packed)
                packed_tensors[name] = PackedTensor(packed.record, (), packed.singular_values)
                meter.advance(packed.record.nbytes)
        encoding, records = finish(packed_tensors)
        headers = list(first.container.source_headers()) if header.tree is not None else []
        add_source_headers(payload, headers)
        for number, _ in stored_files(header.tree or ()):
            for chunk in first.container.stored_file(number):
                payload.add("files", Part(number, len(chunk)), Run.alone(bytes(chunk)))
        contents = Contents(
            encoding=encoding,
            source=merge.source,
            left_out=tuple(left_out(merge.sources)),
            tensors=tuple(records[t.name] for t in header.tensors),
            tree=header.tree,
            merge=merge.recipe,
        )
        yield Draft(merge.base, closed_header(payload, merge.base, contents, headers), payload)


def _room(record: TensorRecord) -> int:
    """The elements that count as in work: a sum in float64 takes twice the memory of a delta."""
    return 2 * record.elements
