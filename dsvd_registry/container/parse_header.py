"""The header parsed from its bytes, strictly: each field in its order (spec, section "Header")."""

from __future__ import annotations

import itertools
from typing import assert_never

from ..checkpoint.tensor_info import DTYPES
from ..codec.arithmetic import subnormals_kept
from ..errors import UnsupportedFeature
from ..tau import MILLION
from . import limits
from .fields import FieldReader
from .quantisation import read_quantisation
from .records import (
    AIMS,
    FILE_KINDS,
    FRAME_ORDER,
    RAW_REASONS,
    RECORD_KINDS,
    RESULT_PATH,
    VIEW_KINDS,
    BaseTensor,
    CastRecord,
    DenseRecord,
    Encoding,
    Frame,
    Header,
    KeptFile,
    LayerRule,
    LowRankRecord,
    MergedVersion,
    MergeRecipe,
    Omission,
    Part,
    QuantisedRecord,
    RawRecord,
    Result,
    SameRecord,
    Source,
    TensorFile,
    TensorRecord,
    TreeFile,
    View,
)

_REASONS = tuple(RAW_REASONS)


@subnormals_kept()
def parse_header(data: bytes, payload_offset: int, file_bytes: int) -> Header:
    """Parse the bytes of a header; the first frame starts at `payload_offset` in the file.

    `file_bytes`: the size of the file, which bounds what the header may list. Rules across fields
    are checked by `structure.check_structure`. Raises `ContainerError` for a field that breaks its
    own rule, `UnsupportedFeature` for a feature that is not known.
    """
    fields = FieldReader(data, file_bytes)
    check_features(fields)
    base_digest, base_name = fields.digest("the base's digest"), fields.text("the base's name")
    source = Source(
        format=fields.text("the source's format", limits.MAX_FORMAT_BYTES),
        sha256=fields.digest("the source's digest"),
        size=fields.uint("the source's size"),
    )
    encoding, merge = _encoding(fields), _merge(fields)
    left_out = fields.entries("left_out", limits.MAX_TENSORS, lambda: _omission(fields))
    tree = fields.entries("tree", limits.MAX_FILES, lambda: _file(fields)) or None
    tensors = fields.entries("tensors", limits.MAX_TENSORS, lambda: _tensor(fields))
    frames = fields.entries("frames", limits.MAX_FRAMES, lambda: _frame(fields))
    files = [file.path for file in tree or () if isinstance(file, TensorFile)]
    results = tuple(_result(fields, path) for path in (files if tree else [RESULT_PATH]))
    fields.end()
    return Header(
        base_digest=base_digest,
        base_name=base_name,
        encoding=encoding,
        source=source,
        left_out=left_out,
        tensors=tensors,
        frames=_placed(frames, payload_offset),
        results=results,
        tree=tree,
        merge=merge,
    )


def check_features(fields: FieldReader) -> None:
    """Read the features that the file requires. Raises `UnsupportedFeature`: none is known yet."""
    for _ in range(fields.count("the number of features", limits.MAX_FEATURES)):
        name = fields.text("a feature", limits.MAX_FORMAT_BYTES)
        raise UnsupportedFeature(f"the file requires {name!r}, which is not known here")


def _encoding(fields: FieldReader) -> Encoding:
    tau = fields.uint("tau", 1, MILLION) / MILLION
    grid_noise = fields.double("grid_noise")
    aim = fields.code("aim", AIMS)
    match aim:
        case "tau":
            return Encoding(tau, grid_noise)
        case "max_error":
            max_error = fields.double("max_error")
            if not 0 < max_error < 1:
                raise fields.fail("max_error is outside (0, 1)")
            return Encoding(tau, grid_noise, max_error=max_error)
        case "budget":
            return Encoding(tau, grid_noise, budget=fields.uint("budget", 1))
        case _:
            assert_never(aim)


def _merge(fields: FieldReader) -> MergeRecipe | None:
    versions = fields.entries("versions", limits.MAX_MERGED, lambda: _merged_version(fields))
    if not versions:
        return None
    containers = (None, *(version.container for version in versions))
    if len(set(containers)) < len(containers):
        raise fields.fail("a merge has a container twice")
    layers = fields.entries("layers", limits.MAX_MERGED, lambda: _layer_rule(fields, containers))
    return MergeRecipe(versions, layers, containers[fields.uint("take_from", 0, len(versions))])


def _merged_version(fields: FieldReader) -> MergedVersion:
    container, name = fields.digest("the container"), fields.text("the name")
    return MergedVersion(name, container, fields.signed_double("the weight"))


def _layer_rule(fields: FieldReader, containers: tuple[str | None, ...]) -> LayerRule:
    pattern, weight = fields.text("the pattern"), fields.signed_double("the weight")
    return LayerRule(
        pattern, weight, containers[fields.uint("the version", 0, len(containers) - 1)]
    )


def _omission(fields: FieldReader) -> Omission:
    return Omission(fields.text("the name"), fields.text("the reason"))


def _file(fields: FieldReader) -> TreeFile:
    kind, path = fields.code("the kind", FILE_KINDS), fields.text("the path")
    match kind:
        case "tensors":
            return TensorFile(path, fields.text("the prefix", least=0))
        case "stored" | "base":
            sha256, size = fields.digest("the digest"), fields.uint("the size")
            return KeptFile(path, sha256, size, of_base=kind == "base")
        case _:
            assert_never(kind)


def _tensor(fields: FieldReader) -> TensorRecord:
    kind, name = fields.code("the kind", RECORD_KINDS), fields.text("the name")
    dtype, shape = fields.code("the dtype", DTYPES), fields.shape()
    match kind:
        case "same":
            return SameRecord(name, dtype, shape, *_based(fields))
        case "low_rank":
            return _low_rank(name, dtype, shape, fields)
        case "dense":
            return DenseRecord(
                *(name, dtype, shape, *_based(fields)),
                exponent=fields.signed_byte("exponent", limits.MIN_EXPONENT, limits.MAX_EXPONENT),
                maximum=fields.uint("maximum", 1, limits.MAX_MAGNITUDE),
                base_norm=fields.single("base_norm"),
                norm=fields.single("norm"),
                error=fields.single("error"),
            )
        case "raw":
            return RawRecord(name, dtype, shape, fields.code("the reason", _REASONS))
        case "cast":
            return CastRecord(name, dtype, shape, fields.uint("of"))
        case "quantised":
            based = _based(fields)
            return QuantisedRecord(name, dtype, shape, *based, read_quantisation(fields))
        case _:
            assert_never(kind)


def _based(fields: FieldReader) -> tuple[tuple[BaseTensor, ...], View, int]:
    """The base tensors, the view and the number of new rows of a record with a base."""
    new_rows, kind = fields.uint("new_rows"), fields.code("the view", VIEW_KINDS)
    match kind:
        case "slice":
            view = View(kind, fields.uint("first"), fields.uint("rows", 1))
        case "roll":
            view = View(kind, fields.uint("first", 1))
        case "reshape" | "transpose" | "concatenate":
            view = View(kind)
        case _:
            assert_never(kind)
    count = fields.count("base tensors", limits.MAX_BASE_TENSORS_PER_RECORD, least=1)
    return tuple(_base_tensor(fields) for _ in range(count)), view, new_rows


def _base_tensor(fields: FieldReader) -> BaseTensor:
    name, dtype = fields.text("the base tensor's name"), fields.code("its dtype", DTYPES)
    return BaseTensor(name, dtype, fields.shape(), fields.digest("its digest"))


def _low_rank(name: str, dtype: str, shape: tuple[int, ...], fields: FieldReader) -> LowRankRecord:
    tensor = LowRankRecord(
        *(name, dtype, shape, *_based(fields)),
        rank=fields.uint("rank", 1),
        tau_rank=fields.uint("tau_rank", 1),
        noise_rank=fields.uint("noise_rank"),
        nuclear_norm=fields.double("nuclear_norm"),
        base_norm=fields.single("base_norm"),
        norm=fields.single("norm"),
        error=fields.single("error"),
    )
    if not tensor.nuclear_norm:
        raise fields.fail("nuclear_norm is zero")
    return tensor


def _frame(fields: FieldReader) -> Frame:
    return Frame(
        content=fields.code("the content", FRAME_ORDER),
        raw=fields.uint("raw", 1, limits.MAX_FRAME_RAW),
        stored=fields.uint("stored", 1, limits.MAX_FRAME_STORED),
        sha256=fields.digest("the digest"),
        parts=tuple(
            Part(fields.uint("a part's tensor"), fields.uint("a part's count", 1))
            for _ in range(fields.count("parts", limits.MAX_PARTS))
        ),
    )


def _placed(frames: tuple[Frame, ...], offset: int) -> tuple[Frame, ...]:
    """The frames with their positions in the file, one after another."""
    ends = itertools.accumulate((frame.stored for frame in frames), initial=offset)
    return tuple(frame.at(start) for frame, start in zip(frames, ends, strict=False))


def _result(fields: FieldReader, path: str) -> Result:
    return Result(path, fields.digest("a result's digest"), fields.uint("a result's size"))
