"""Building of a container from a checkpoint and its base, up to the object in the store.

source tensors -> codec -> records and parts -> container. Before the container becomes an object,
it is read back and materialised once in memory, so that everything in the store is known to work.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.layout import canonical_layout, kept_layout
from ..checkpoint.tree import Tree
from ..checkpoint.weight_files import TENSORS
from ..codec.tensor_order import in_order
from ..container import limits
from ..container.fields import shape_fits
from ..container.reader import Container
from ..container.records import (
    Encoding,
    Header,
    KeptFile,
    MergeRecipe,
    Omission,
    Part,
    Result,
    Source,
    TensorFile,
    TensorRecord,
    TreeFile,
    record_numbers,
)
from ..container.rows import Run
from ..container.structure import stored_files
from ..container.writer import PayloadWriter, write_container
from ..errors import CheckpointError
from ..fs import storage_errors
from ..progress import Meter, Progress
from ..reconstruction.base_weights import BaseWeights
from ..reconstruction.reconstruction import Reconstruction
from ..reconstruction.recorded_digest import kinds_by_path
from ..reconstruction.result_layout import result_files
from ..store import ObjectStore, StoredObject
from .encode_tensor import Codec, PackedTensor, pack_tensor
from .fine_tune import FineTune
from .parts import MAX_PART_BYTES


def source_headers(checkpoint: Checkpoint) -> list[bytes]:
    """The JSON headers of the safetensors files of a checkpoint, in the order of their paths."""
    if checkpoint.tree is not None:
        return [file.header for file in checkpoint.tree.tensors]
    return [] if checkpoint.header is None else [checkpoint.header]


def tree_of(checkpoint: Checkpoint, base: BaseWeights) -> tuple[TreeFile, ...] | None:
    """The header's `tree`; None for a single file. A file that the base has, too, is not stored."""
    if checkpoint.tree is None:
        return None
    files: list[TreeFile] = [TensorFile(f.path, f.prefix) for f in checkpoint.tree.tensors]
    for file in checkpoint.tree.kept:
        of_base = base.kept_file(file.sha256) is not None and not file.path.endswith(TENSORS)
        files.append(KeptFile(file.path, file.sha256, file.size, of_base))
    return tuple(sorted(files, key=lambda file: file.path.encode()))


def add_source_headers(payload: PayloadWriter, headers: Sequence[bytes]) -> None:
    """Add safetensors headers to the payload, each in a frame of its own."""
    for number, header in enumerate(headers):
        payload.add("source_header", None, Run.alone(header), band=number)


def add_files(payload: PayloadWriter, files: tuple[TreeFile, ...], tree: Tree) -> None:
    """Add the bytes of all stored files to the payload. Raises `StorageError`."""
    for number, file in stored_files(files):
        place = tree.places[file.path]
        with storage_errors(place), place.open("rb") as opened:
            while chunk := opened.read(MAX_PART_BYTES):
                payload.add("files", Part(number, len(chunk)), Run.alone(chunk))


# Stands for the result's digest until that is known; it compresses as badly as a real digest.
NOT_YET = hashlib.sha256(b"not yet").hexdigest()

CodecOf = Callable[[TensorInfo], Codec]
Finish = Callable[[Mapping[str, PackedTensor]], tuple[Encoding, Mapping[str, TensorRecord]]]
"""Makes the header's encoding and records from all packed tensors, whose parts are empty by then."""


@dataclass(frozen=True)
class Draft:
    """A container of `base` that is complete except for the digest of its result."""

    base: BaseWeights
    header: Header
    payload: PayloadWriter


@contextlib.contextmanager
def encoded(
    fine_tune: FineTune, codec_of: CodecOf, finish: Finish, objects: ObjectStore, progress: Progress
) -> Iterator[Draft]:
    """Encode every tensor into a scratch file, which is deleted on leaving.

    Raises `BaseMismatch`, `CheckpointError`, `StorageError`.
    """
    checkpoint = fine_tune.checkpoint
    numbers = record_numbers(checkpoint.tensors)
    packed_tensors: dict[str, PackedTensor] = {}
    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        payload = PayloadWriter(scratch)
        meter = Meter(progress, "encoding", sum(t.nbytes for t in checkpoint.tensors.values()))
        with in_order(
            lambda info: pack_tensor(fine_tune, info, codec_of(info)),
            (checkpoint.tensors[name] for name in data_order(checkpoint)),
            lambda info: info.elements,
        ) as results:
            for packed in results:
                name = packed.record.name
                add_parts(payload, numbers[name], packed)
                packed_tensors[name] = replace(packed, parts=())
                meter.advance(packed.record.nbytes)
        encoding, records = finish(packed_tensors)
        yield Draft(
            fine_tune.base,
            closed(payload, fine_tune, encoding, [records[n] for n in numbers]),
            payload,
        )


def add_parts(payload: PayloadWriter, number: int, packed: PackedTensor) -> None:
    """Add the parts of tensor `number` to the frames."""
    for part in packed.parts:
        payload.add(part.content, Part(number, part.count), part.runs, part.band)


def closed(
    payload: PayloadWriter, fine_tune: FineTune, encoding: Encoding, tensors: Iterable[TensorRecord]
) -> Header:
    """Close the payload and make its header; the digests of its results are still placeholders.

    The payload has the parts of all `tensors`.
    """
    checkpoint = fine_tune.checkpoint
    headers = source_headers(checkpoint)
    add_source_headers(payload, headers)
    tree = tree_of(checkpoint, fine_tune.base)
    if tree is not None and checkpoint.tree is not None:
        add_files(payload, tree, checkpoint.tree)
    left_out = tuple(Omission.of(entry) for entry in checkpoint.left_out)
    contents = Contents(encoding, fine_tune.source, left_out, tuple(tensors), tree)
    return closed_header(payload, fine_tune.base, contents, headers)


@dataclass(frozen=True)
class Contents:
    """The fields of a header that describe what is in a payload; see `Header`."""

    encoding: Encoding
    source: Source
    left_out: tuple[Omission, ...]
    tensors: tuple[TensorRecord, ...]
    tree: tuple[TreeFile, ...] | None
    merge: MergeRecipe | None = None


def closed_header(
    payload: PayloadWriter, base: BaseWeights, contents: Contents, headers: Sequence[bytes]
) -> Header:
    """Close a payload that has everything, `headers` of the source too, and make its header.

    It has a placeholder for the digest of every result that is not known yet.
    """
    header = Header(
        base_digest=base.digest,
        base_name=base.name,
        encoding=contents.encoding,
        source=contents.source,
        left_out=contents.left_out,
        tensors=contents.tensors,
        frames=payload.finish(),
        results=(),
        tree=contents.tree,
        merge=contents.merge,
    )
    digest = contents.source.sha256 if header.keeps_source else NOT_YET
    files = result_files(header, headers, contents.encoding.tau)
    return replace(header, results=tuple(Result(file.path, digest, file.size) for file in files))


@dataclass(frozen=True)
class StoredContainer(StoredObject):
    """A container that is an object of the store, with its header.

    `result_digests`: the digests of each file that it gives, by path ("" for the only file) and kind.
    """

    header: Header
    result_digests: Mapping[str, Mapping[str, str]]


def store(draft: Draft, objects: ObjectStore, progress: Progress) -> StoredContainer:
    """Read the container back from disk, compute the digests of its results, and make it an object."""
    with objects.draft() as file:
        write_container(draft.header, draft.payload.chunks(), file)
        file.flush()
        with Container(file.path) as container:
            tau = draft.header.encoding.tau
            digests = Reconstruction(container, draft.base, tau).digests(progress, "checking")
    results = tuple(
        Result(result.path, digest.sha256, digest.size)
        for result, digest in zip(draft.header.results, digests, strict=True)
    )
    header = replace(draft.header, results=results)
    with objects.new_object() as writer:
        write_container(header, draft.payload.chunks(), writer)
        stored = writer.commit()
    return StoredContainer(stored.sha256, stored.size, header, kinds_by_path(header, digests))


def check_storable(checkpoint: Checkpoint) -> None:
    """Check early that a container can describe every tensor. Raises `CheckpointError`."""
    if max(len(checkpoint.tensors), len(checkpoint.left_out)) > limits.MAX_TENSORS:
        raise CheckpointError(f"{checkpoint.path} has more than {limits.MAX_TENSORS} tensors")
    for info in checkpoint.tensors.values():
        if not shape_fits(info.shape):
            raise CheckpointError(
                f"{checkpoint.path}: tensor {info.name!r} has a shape over the limits"
            )


def data_order(checkpoint: Checkpoint) -> Iterator[str]:
    """Names in the order of the result's data, so that materialising reads every frame once."""
    if checkpoint.tree is not None:
        for file in checkpoint.tree.tensors:
            yield from (file.prefix + name for name in kept_layout(file.header).order)
    elif checkpoint.header is not None:
        yield from kept_layout(checkpoint.header).order
    else:
        yield from canonical_layout(checkpoint.tensors.values(), {}).order
