"""The header as canonical JSON, and the content digest (spec, section "Header")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

from .. import canonical
from ..codec.encoded import delta_figures, low_rank_figures
from ..errors import HeaderTooHeavy
from ..hashing import sha256
from .records import (
    BasedRecord,
    CastRecord,
    DenseRecord,
    Encoding,
    Fidelity,
    Header,
    LowRankRecord,
    MergeRecipe,
    RawRecord,
    Result,
    SameRecord,
    TensorFile,
    TensorRecord,
    TreeFile,
    View,
)


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
        "tensors": list(map(_tensor_object, header.tensors)),
        **({} if header.tree is None else {"tree": _tree_object(header.tree)}),
        **({} if header.merge is None else {"merge": recipe_object(header.merge)}),
    }


def _encoding_object(encoding: Encoding) -> dict[str, Any]:
    value: dict[str, Any] = {"grid_noise": encoding.grid_noise, "tau": encoding.tau}
    if encoding.fidelity is not None:
        value["fidelity"] = _fidelity_object(encoding.fidelity)
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


def _fidelity_object(fidelity: Fidelity) -> dict[str, Any]:
    """The JSON of `encoding.fidelity`, without the fields that were not requested."""
    requested = {"max_error": fidelity.max_error, "budget": fidelity.budget}
    return {
        "error": fidelity.error,
        **{name: value for name, value in requested.items() if value is not None},
    }


def _tree_object(tree: Iterable[TreeFile]) -> list[dict[str, Any]]:
    """The JSON of `tree`."""
    return [_file_object(file) for file in tree]


def _file_object(file: TreeFile) -> dict[str, Any]:
    if isinstance(file, TensorFile):
        return {"kind": "tensors", "path": file.path, "prefix": file.prefix}
    kind = "base" if file.of_base else "stored"
    return {"kind": kind, "path": file.path, "sha256": file.sha256, "size": file.size}


def result_object(result: Result) -> dict[str, Any]:
    """The JSON of a result."""
    return {"path": result.path, "sha256": result.sha256, "size": result.size}
