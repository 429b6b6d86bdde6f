"""Conversion of the header to canonical JSON and back (spec, section "Header")."""

from __future__ import annotations

from typing import Any, TypeVar, assert_never, get_args

from .. import canonical
from ..codec.encoded import delta_figures, low_rank_figures
from ..errors import ContainerError, HeaderTooHeavy, UnsupportedFeature
from ..hashing import sha256
from ..layouts.view import VIEW_KINDS
from . import limits
from .fidelity import fidelity_object, parse_fidelity
from .json_fields import Fields, decode
from .records import (
    RAW_REASONS,
    RECORD_KINDS,
    BasedRecord,
    BaseTensor,
    CastRecord,
    DenseRecord,
    Encoding,
    Frame,
    FrameContent,
    Header,
    LowRankRecord,
    Omission,
    Part,
    RawRecord,
    SameRecord,
    Source,
    TensorRecord,
    View,
)
from .shared_fields import parse_result, parse_shape, result_object
from .tree import parse_tree, tree_object


def header_json(header: Header) -> bytes:
    """The canonical JSON of `header`. Raises `HeaderTooHeavy` if it is over the limit of readers."""
    return _canonical(_header_object(header))


def content_digest(header: Header) -> str:
    """The SHA-256 of the header's canonical JSON without `results`.

    Result files contain this digest, and `results` contains the digests of these files, so
    `results` cannot be part of it. The payload is covered by its own SHA-256, which is part of the
    header. Raises `HeaderTooHeavy` as `header_json` does.
    """
    value = _header_object(header)
    del value["results"]
    return sha256(_canonical(value))


def _canonical(value: Any) -> bytes:
    try:
        return canonical.encode(value)
    except canonical.NotCanonical as error:
        raise HeaderTooHeavy(f"the header would be {error}") from error


def parse_header(data: bytes, payload_offset: int) -> Header:
    """Parse the header from canonical JSON; the first frame starts at `payload_offset` in the file.

    The caller has checked the weight of the text. Rules across fields are checked by
    `structure.check_structure`. Raises `ContainerError` for a field that breaks its own rule,
    `UnsupportedFeature` for an unknown name in `requires`.
    """
    value = decode(data)
    if isinstance(value, dict):
        _check_requires(value.get("requires"))
    fields = Fields(value, "the header")
    base = Fields(fields.take("base"), "base")
    source = Fields(fields.take("source"), "source")
    requires = fields.take("requires")
    header = Header(
        base_digest=base.hexadecimal("digest", 64),
        base_name=base.text("name", limits.MAX_NAME_BYTES),
        encoding=_encoding(fields.take("encoding"), requires),
        source=Source(
            format=source.text("format", 64),
            sha256=source.hexadecimal("sha256", 64),
            size=source.integer("size", 0, limits.MAX_SIZE),
        ),
        left_out=tuple(
            _omission(entry, f"left_out[{i}]")
            for i, entry in enumerate(fields.array("left_out", limits.MAX_TENSORS))
        ),
        tensors=tuple(
            _tensor(entry, f"tensors[{i}]")
            for i, entry in enumerate(fields.array("tensors", limits.MAX_TENSORS))
        ),
        frames=_frames(fields.array("frames", limits.MAX_FRAMES), payload_offset),
        payload_sha256=fields.hexadecimal("payload_sha256", 64),
        results=tuple(
            parse_result(entry, f"results[{i}]")
            for i, entry in enumerate(
                fields.array("results", limits.MAX_FILES if "tree" in requires else 1, least=1)
            )
        ),
        packed="packed" in requires,
        loose_header="loose_header" in requires,
        tree=parse_tree(fields, is_named="tree" in requires),
    )
    for part in (fields, base, source):
        part.end()
    if header.has_casts != ("cast" in requires):
        raise ContainerError("whether a record is a cast is not as `requires` says")
    return header


def _check_requires(names: Any) -> None:
    """Check the feature names, before any field that an unknown feature may have changed."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ContainerError("requires is not an array of strings")
    if names != sorted(set(names)):
        raise ContainerError("requires is not sorted, or repeats a name")
    for name in names:
        if name not in limits.FEATURES:
            raise UnsupportedFeature(f"the container requires {name!r}, which is not known here")


def _encoding(value: Any, requires: list[str]) -> Encoding:
    """Read the field `encoding`; its field `fidelity` must be present exactly if `requires` names it."""
    fields = Fields(value, "encoding")
    is_named, is_there = "fidelity" in requires, fields.has("fidelity")
    if is_named and not is_there:
        raise ContainerError("requires names 'fidelity', and encoding has no field of that name")
    if is_there and not is_named:
        raise ContainerError("encoding has a field 'fidelity', and requires does not name it")
    encoding = Encoding(
        tau=fields.real("tau"),
        grid_noise=fields.real("grid_noise"),
        fidelity=parse_fidelity(fields.take("fidelity")) if is_there else None,
    )
    fields.end()
    if not 0 < encoding.tau <= 1:
        raise ContainerError("encoding: tau is outside (0, 1]")
    return encoding


def _header_object(header: Header) -> dict[str, Any]:
    return {
        "base": {"digest": header.base_digest, "name": header.base_name},
        "encoding": _encoding_object(header.encoding),
        "frames": [
            {
                "content": frame.content,
                "parts": [[part.tensor, part.count] for part in frame.parts],
                "raw": frame.raw,
                "stored": frame.stored,
                "xxh3": frame.xxh3,
            }
            for frame in header.frames
        ],
        "left_out": [{"name": entry.name, "reason": entry.reason} for entry in header.left_out],
        "payload_sha256": header.payload_sha256,
        "requires": list(header.requires),
        "results": [result_object(result) for result in header.results],
        "source": {
            "format": header.source.format,
            "sha256": header.source.sha256,
            "size": header.source.size,
        },
        "tensors": [_tensor_object(tensor) for tensor in header.tensors],
        **({} if header.tree is None else {"tree": tree_object(header.tree)}),
    }


def _encoding_object(encoding: Encoding) -> dict[str, Any]:
    value: dict[str, Any] = {"grid_noise": encoding.grid_noise, "tau": encoding.tau}
    if encoding.fidelity is not None:
        value["fidelity"] = fidelity_object(encoding.fidelity)
    return value


def _tensor_object(tensor: TensorRecord) -> dict[str, Any]:
    value: dict[str, Any] = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
    }
    if isinstance(tensor, BasedRecord):
        value["base"] = [
            {
                "name": base.name,
                "dtype": base.dtype,
                "shape": list(base.shape),
                "sha256": base.sha256,
            }
            for base in tensor.base
        ]
        value["view"] = _view_object(tensor.view)
        if tensor.new_rows:
            value["new_rows"] = tensor.new_rows
    match tensor:
        case SameRecord():
            value["kind"] = "same"
        case LowRankRecord():
            value |= {"kind": "low_rank", "full_rank": tensor.full_rank, "rank": tensor.rank}
            value |= low_rank_figures(tensor)
        case DenseRecord():
            value |= {"kind": "dense", "exponent": tensor.exponent, "maximum": tensor.maximum}
            value |= delta_figures(tensor)
        case RawRecord():
            value |= {"kind": "raw", "reason": tensor.reason}
        case CastRecord():
            value |= {"kind": "cast", "of": tensor.of}
        case _:
            assert_never(tensor)
    return value


def _view_object(view: View) -> dict[str, Any]:
    match view.kind:
        case "slice":
            return {"kind": "slice", "first": view.first, "rows": view.rows}
        case "reshape" | "transpose" | "concatenate":
            return {"kind": view.kind}
        case _:
            assert_never(view.kind)


def _tensor(value: Any, where: str) -> TensorRecord:
    fields = Fields(value, where)
    name = fields.text("name", limits.MAX_NAME_BYTES)
    dtype = fields.text("dtype", 32)
    shape = parse_shape(fields, where)
    kind = _one_of(RECORD_KINDS, fields.text("kind", 32), where)
    tensor: TensorRecord
    match kind:
        case "raw":
            reason = fields.text("reason", 32)
            if reason not in RAW_REASONS:
                raise ContainerError(f"{where}: unknown reason {reason!r}")
            tensor = RawRecord(name, dtype, shape, reason)
        case "same":
            tensor = SameRecord(name, dtype, shape, *_based(fields, where))
        case "low_rank":
            tensor = _low_rank((name, dtype, shape, *_based(fields, where)), fields, where)
        case "dense":
            tensor = DenseRecord(
                *(name, dtype, shape, *_based(fields, where)),
                exponent=fields.integer("exponent", limits.MIN_EXPONENT, limits.MAX_EXPONENT),
                maximum=fields.integer("maximum", 1, limits.MAX_MAGNITUDE),
                base_norm=fields.real("base_norm"),
                norm=fields.real("norm"),
                error=fields.real("error"),
            )
        case "cast":
            tensor = CastRecord(name, dtype, shape, fields.integer("of", 0, limits.MAX_SIZE))
        case _:
            assert_never(kind)
    fields.end()
    return tensor


def _based(fields: Fields, where: str) -> tuple[tuple[BaseTensor, ...], View, int]:
    """Read the base tensors, the view and the number of new rows of a record with a base."""
    entries = fields.array("base", limits.MAX_BASE_TENSORS_PER_RECORD, least=1)
    base = tuple(_base_tensor(entry, f"{where}.base[{i}]") for i, entry in enumerate(entries))
    view = _view(fields.take("view"), f"{where}.view")
    return base, view, fields.optional_integer("new_rows", 1, limits.MAX_SIZE)


def _low_rank(
    based: tuple[str, str, tuple[int, ...], tuple[BaseTensor, ...], View, int],
    fields: Fields,
    where: str,
) -> LowRankRecord:
    full_rank = fields.integer("full_rank", 1, limits.MAX_SIZE)
    tensor = LowRankRecord(
        *based,
        rank=fields.integer("rank", 1, full_rank),
        tau_rank=fields.integer("tau_rank", 1, full_rank),
        noise_rank=fields.integer("noise_rank", 0, full_rank),
        energy=fields.real("energy"),
        nuclear_norm=fields.real("nuclear_norm"),
        base_norm=fields.real("base_norm"),
        norm=fields.real("norm"),
        error=fields.real("error"),
    )
    if not tensor.nuclear_norm:
        raise ContainerError(f"{where}: nuclear_norm is zero")
    if len(tensor.shape) < 2 or full_rank != tensor.full_rank:
        raise ContainerError(f"{where}: full_rank is not that of the shape")
    return tensor


def _base_tensor(value: Any, where: str) -> BaseTensor:
    fields = Fields(value, where)
    tensor = BaseTensor(
        name=fields.text("name", limits.MAX_NAME_BYTES),
        dtype=fields.text("dtype", 32),
        shape=parse_shape(fields, where),
        sha256=fields.hexadecimal("sha256", 64),
    )
    fields.end()
    return tensor


def _view(value: Any, where: str) -> View:
    fields = Fields(value, where)
    kind = _one_of(VIEW_KINDS, fields.text("kind", 32), where)
    match kind:
        case "slice":
            first = fields.integer("first", 0, limits.MAX_SIZE)
            view = View(kind, first, rows=fields.integer("rows", 1, limits.MAX_SIZE))
        case "reshape" | "transpose" | "concatenate":
            view = View(kind)
        case _:
            assert_never(kind)
    fields.end()
    return view


Kind = TypeVar("Kind", bound=str)


def _one_of(kinds: tuple[Kind, ...], name: str, where: str) -> Kind:
    for kind in kinds:
        if name == kind:
            return kind
    raise ContainerError(f"{where}: unknown kind {name!r}")


def _frames(values: list[Any], offset: int) -> tuple[Frame, ...]:
    frames = []
    for i, value in enumerate(values):
        where = f"frames[{i}]"
        fields = Fields(value, where)
        content = fields.take("content")
        if content not in get_args(FrameContent):
            raise ContainerError(f"{where}: unknown content {content!r}")
        frame = Frame(
            content=content,
            parts=tuple(_part(entry, where) for entry in fields.array("parts", limits.MAX_PARTS)),
            raw=fields.integer("raw", 1, limits.MAX_FRAME_RAW),
            stored=fields.integer("stored", 1, limits.MAX_FRAME_STORED),
            xxh3=fields.hexadecimal("xxh3", 16),
            offset=offset,
        )
        fields.end()
        frames.append(frame)
        offset += frame.stored
    return tuple(frames)


def _part(value: Any, where: str) -> Part:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(number) is int and 0 <= number <= limits.MAX_SIZE for number in value)
        or value[1] < 1
    ):
        raise ContainerError(f"{where}: a part is not [tensor, count]")
    return Part(*value)


def _omission(value: Any, where: str) -> Omission:
    fields = Fields(value, where)
    omission = Omission(
        name=fields.text("name", limits.MAX_NAME_BYTES),
        reason=fields.text("reason", limits.MAX_NAME_BYTES),
    )
    fields.end()
    return omission
