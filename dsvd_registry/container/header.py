"""The header as bytes, and the content digest (spec, section "Header")."""

from __future__ import annotations

from typing import Any, assert_never

from ..checkpoint.tensor_info import DTYPES
from ..codec.arithmetic import subnormals_kept
from ..hashing import sha256
from ..tau import millionths
from .fields import FieldWriter
from .quantisation import write_quantisation
from .records import (
    AIMS,
    FILE_KINDS,
    FRAME_ORDER,
    RAW_REASONS,
    RECORD_KINDS,
    VIEW_KINDS,
    BasedRecord,
    BaseTensor,
    CastRecord,
    DeltaRecord,
    DenseRecord,
    Encoding,
    Frame,
    Header,
    LowRankRecord,
    MergeRecipe,
    QuantisedRecord,
    RawRecord,
    SameRecord,
    TensorFile,
    TensorRecord,
    TreeFile,
)


def header_bytes(header: Header) -> bytes:
    """The bytes of `header`, which are compressed as one zstd frame."""
    fields = _without_results(header)
    for result in header.results:
        fields.digest(result.sha256)
        fields.uint(result.size)
    return bytes(fields.data)


def content_digest(header: Header) -> str:
    """The SHA-256 of the header's bytes without its last section, the results.

    Result files contain this digest, and the results are the digests of these files, so they cannot
    be part of it. The payload is covered by the SHA-256 of each frame, which the header contains.
    """
    return sha256(bytes(_without_results(header).data))


@subnormals_kept()
def _without_results(header: Header) -> FieldWriter:
    fields = FieldWriter()
    fields.uint(0)  # features that a reader must have: none yet
    fields.digest(header.base_digest)
    fields.text(header.base_name)
    fields.text(header.source.format)
    fields.digest(header.source.sha256)
    fields.uint(header.source.size)
    _write_encoding(fields, header.encoding)
    _write_merge(fields, header.merge)
    fields.uint(len(header.left_out))
    for entry in header.left_out:
        fields.text(entry.name)
        fields.text(entry.reason)
    tree = header.tree or ()
    fields.uint(len(tree))
    for file in tree:
        _write_file(fields, file)
    fields.uint(len(header.tensors))
    for tensor in header.tensors:
        _write_tensor(fields, tensor)
    fields.uint(len(header.frames))
    for frame in header.frames:
        _write_frame(fields, frame)
    return fields


def _write_encoding(fields: FieldWriter, encoding: Encoding) -> None:
    fields.uint(millionths(encoding.tau))
    fields.double(encoding.grid_noise)
    if encoding.max_error is not None:
        fields.code("max_error", AIMS)
        fields.double(encoding.max_error)
    elif encoding.budget is not None:
        fields.code("budget", AIMS)
        fields.uint(encoding.budget)
    else:
        fields.code("tau", AIMS)


def _write_merge(fields: FieldWriter, merge: MergeRecipe | None) -> None:
    if merge is None:
        fields.uint(0)
        return
    places = {version.container: place for place, version in enumerate(merge.versions, 1)}
    fields.uint(len(merge.versions))
    for version in merge.versions:
        fields.digest(version.container)
        fields.text(version.name)
        fields.double(version.weight)
    fields.uint(len(merge.layers))
    for rule in merge.layers:
        fields.text(rule.pattern)
        fields.double(rule.weight)
        fields.uint(0 if rule.container is None else places[rule.container])
    fields.uint(0 if merge.take_from is None else places[merge.take_from])


def _write_file(fields: FieldWriter, file: TreeFile) -> None:
    fields.code(file.kind, FILE_KINDS)
    fields.text(file.path)
    if isinstance(file, TensorFile):
        fields.text(file.prefix)
    else:
        fields.digest(file.sha256)
        fields.uint(file.size)


def _write_tensor(fields: FieldWriter, tensor: TensorRecord) -> None:
    fields.code(tensor.kind, RECORD_KINDS)
    fields.text(tensor.name)
    fields.code(tensor.dtype, DTYPES)
    fields.shape(tensor.shape)
    if isinstance(tensor, BasedRecord):
        fields.uint(tensor.new_rows)
        fields.code(tensor.view.kind, VIEW_KINDS)
        if tensor.view.kind == "slice":
            fields.uint(tensor.view.first)
            fields.uint(tensor.view.rows)
        elif tensor.view.kind == "roll":
            fields.uint(tensor.view.first)
        fields.uint(len(tensor.base))
        for base in tensor.base:
            _write_base_tensor(fields, base)
    match tensor:
        case SameRecord():
            pass
        case LowRankRecord():
            fields.uint(tensor.rank)
            fields.uint(tensor.tau_rank)
            fields.uint(tensor.noise_rank)
            fields.double(tensor.nuclear_norm)
            _write_figures(fields, tensor)
        case DenseRecord():
            fields.signed_byte(tensor.exponent)
            fields.uint(tensor.maximum)
            _write_figures(fields, tensor)
        case RawRecord():
            fields.code(tensor.reason, tuple(RAW_REASONS))
        case CastRecord():
            fields.uint(tensor.of)
        case QuantisedRecord():
            write_quantisation(fields, tensor.quantisation)
        case _:
            assert_never(tensor)


def _write_base_tensor(fields: FieldWriter, base: BaseTensor) -> None:
    fields.text(base.name)
    fields.code(base.dtype, DTYPES)
    fields.shape(base.shape)
    fields.digest(base.sha256)


def _write_figures(fields: FieldWriter, tensor: DeltaRecord) -> None:
    fields.single(tensor.base_norm)
    fields.single(tensor.norm)
    fields.single(tensor.error)


def _write_frame(fields: FieldWriter, frame: Frame) -> None:
    fields.code(frame.content, FRAME_ORDER)
    fields.uint(frame.raw)
    fields.uint(frame.stored)
    fields.digest(frame.sha256)
    fields.uint(len(frame.parts))
    for part in frame.parts:
        fields.uint(part.tensor)
        fields.uint(part.count)


def recipe_object(recipe: MergeRecipe) -> dict[str, Any]:
    """The JSON of a merge's recipe, without the optional fields that do not apply."""
    value: dict[str, Any] = {
        "layers": [
            {"pattern": rule.pattern, "weight": rule.weight}
            | ({} if rule.container is None else {"container": rule.container})
            for rule in recipe.layers
        ],
        "versions": [
            {"container": one.container, "name": one.name, "weight": one.weight}
            for one in recipe.versions
        ],
    }
    return value if recipe.take_from is None else {**value, "take_from": recipe.take_from}
