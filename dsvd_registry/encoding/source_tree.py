"""The files of a source that is a folder: their entries in the header, and their stored bytes."""

from __future__ import annotations

from collections.abc import Sequence

from ..checkpoint import Checkpoint
from ..checkpoint.tree import Tree
from ..checkpoint.weight_files import TENSORS
from ..container.features import stored_files
from ..container.records import KeptFile, Part, TensorFile, TreeFile
from ..container.rows import Run
from ..container.writer import PayloadWriter
from ..fs import storage_errors
from ..reconstruction.base_weights import BaseWeights
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
