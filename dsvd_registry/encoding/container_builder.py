"""From a checkpoint and a base to a container in the store.

source tensors -> codec -> records and parts -> container; then the container is read back and
materialised once, in memory, before it becomes an object: what is in the store has been seen to work.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..checkpoint import Checkpoint, LeftOut, TensorInfo
from ..checkpoint.layout import canonical_layout, kept_layout
from ..checkpoint.safetensors_file import is_loose
from ..codec.tensor_order import in_order
from ..container import limits
from ..container.reader import Container
from ..container.records import (
    Encoding,
    Header,
    Omission,
    Part,
    Result,
    TensorRecord,
)
from ..container.writer import PayloadWriter, write_container
from ..errors import CheckpointError
from ..fs import storage_errors
from ..progress import Meter, Progress
from ..reconstruction.reconstruction import Reconstruction
from ..reconstruction.result_layout import result_files
from ..store import ObjectStore, StoredObject
from .encode_tensor import Codec, PackedTensor, pack_tensor
from .fine_tune import FineTune
from .source_tree import add_files, add_source_headers, source_headers, tree_of

# Where the result's digest will stand, which depends on all the rest; it compresses as badly.
NOT_YET = hashlib.sha256(b"not yet").hexdigest()

CodecOf = Callable[[TensorInfo], Codec]
Finish = Callable[[Mapping[str, PackedTensor]], tuple[Encoding, Mapping[str, TensorRecord]]]
"""From all tensors, packed (their parts are gone by then), to what stands in the header of them."""


@dataclass(frozen=True)
class Draft:
    """A container that is complete but for the digest of its result."""

    fine_tune: FineTune
    header: Header
    payload: PayloadWriter


@contextlib.contextmanager
def encoded(
    fine_tune: FineTune, codec_of: CodecOf, finish: Finish, objects: ObjectStore, progress: Progress
) -> Iterator[Draft]:
    """Every tensor encoded, into a scratch file that is gone on leaving.

    Raises `BaseMismatch`, `CheckpointError`, `StorageError`.
    """
    checkpoint = fine_tune.checkpoint
    names = sorted(checkpoint.tensors, key=str.encode)
    numbers = {name: number for number, name in enumerate(names)}
    packed_tensors: dict[str, PackedTensor] = {}
    with objects.scratch() as scratch, storage_errors(Path(scratch.name).parent):
        payload = PayloadWriter(scratch)
        meter = Meter(progress, "encoding", sum(t.nbytes for t in checkpoint.tensors.values()))
        with in_order(
            lambda info: pack_tensor(fine_tune, info, codec_of(info)),
            (checkpoint.tensors[name] for name in data_order(checkpoint)),
            lambda info: info.elements,
        ) as made:
            for packed in made:
                name = packed.record.name
                add_parts(payload, numbers[name], packed)
                packed_tensors[name] = replace(packed, parts=())
                meter.advance(packed.record.nbytes)
        encoding, records = finish(packed_tensors)
        yield Draft(
            fine_tune, closed(payload, fine_tune, encoding, [records[n] for n in names]), payload
        )


def add_parts(payload: PayloadWriter, number: int, packed: PackedTensor) -> None:
    """The parts of tensor `number` into the frames."""
    for part in packed.parts:
        payload.add(part.content, Part(number, part.count), part.runs, part.band)


def closed(
    payload: PayloadWriter, fine_tune: FineTune, encoding: Encoding, tensors: Iterable[TensorRecord]
) -> Header:
    """The header over a payload that has the parts of all `tensors`; the result's digest is to come."""
    checkpoint = fine_tune.checkpoint
    headers = source_headers(checkpoint)
    add_source_headers(payload, headers)
    tree = tree_of(checkpoint, fine_tune.base)
    if tree is not None and checkpoint.tree is not None:
        add_files(payload, tree, checkpoint.tree)
    frames, payload_sha256 = payload.finish()
    header = Header(
        base_digest=fine_tune.base.digest,
        base_name=fine_tune.base.name,
        encoding=encoding,
        source=fine_tune.source,
        left_out=tuple(omission(entry) for entry in checkpoint.left_out),
        tensors=tuple(tensors),
        frames=frames,
        payload_sha256=payload_sha256,
        results=(),
        packed=True,
        tree=tree,
        loose_header=any(map(is_loose, headers)),
    )
    return replace(header, results=undigested(header, headers))


def store(draft: Draft, objects: ObjectStore, progress: Progress) -> StoredObject:
    """Read the container back from disk as it will be, digest what it gives, and make it an object."""
    with objects.draft() as file:
        write_container(draft.header, draft.payload.chunks(), file)
        file.flush()
        with Container(file.path) as container:
            tau = draft.header.encoding.tau
            found = Reconstruction(container, draft.fine_tune.base, tau).digests(
                progress, "checking"
            )
    results = tuple(
        Result(result.path, digest.sha256, digest.size)
        for result, digest in zip(draft.header.results, found, strict=True)
    )
    with objects.new_object() as writer:
        write_container(replace(draft.header, results=results), draft.payload.chunks(), writer)
        return writer.commit()


def check_storable(checkpoint: Checkpoint) -> None:
    """What a container cannot hold is said before minutes are spent on the rest."""
    if max(len(checkpoint.tensors), len(checkpoint.left_out)) > limits.MAX_TENSORS:
        raise CheckpointError(f"{checkpoint.path} has more than {limits.MAX_TENSORS} tensors")
    for info in checkpoint.tensors.values():
        if not limits.shape_fits(info.shape):
            raise CheckpointError(
                f"{checkpoint.path}: tensor {info.name!r} has a shape over the limits"
            )


def data_order(checkpoint: Checkpoint) -> Iterator[str]:
    """The order of the result's data, so that materialising reads every frame once."""
    if checkpoint.tree is not None:
        for file in checkpoint.tree.tensors:
            yield from (file.prefix + name for name in kept_layout(file.header).order)
    elif checkpoint.header is not None:
        yield from kept_layout(checkpoint.header).order
    else:
        yield from canonical_layout(checkpoint.tensors.values(), {}).order


def omission(entry: LeftOut) -> Omission:
    """As a container has it. Names come from the file: they may be empty, or longer than it takes."""
    most = limits.MAX_NAME_BYTES // 4  # characters, of at most four bytes each
    return Omission(entry.name[:most] or "''", entry.reason[:most] or "''")


def undigested(header: Header, headers: Sequence[bytes]) -> tuple[Result, ...]:
    """The results of a header, but for what only making them tells."""
    digest = header.source.sha256 if header.keeps_source else NOT_YET
    files = result_files(header, headers, header.encoding.tau)
    return tuple(Result(file.path, digest, file.size) for file in files)
