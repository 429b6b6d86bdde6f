"""The header parsed from its canonical JSON, strictly: each field by name and type (spec, "Header")."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, assert_never, get_args

from .. import canonical
from ..canonical import MAX_WEIGHT as MAX_WEIGHT
from ..codec.components import MAX_EXPONENT as MAX_EXPONENT
from ..codec.components import MAX_MAGNITUDE as MAX_MAGNITUDE
from ..codec.components import MIN_EXPONENT as MIN_EXPONENT
from ..errors import ContainerError, UnsupportedFeature
from ..layouts.view import VIEW_KINDS
from . import limits
from .records import (
    RAW_REASONS,
    RECORD_KINDS,
    BaseTensor,
    CastRecord,
    DenseRecord,
    Encoding,
    Fidelity,
    Frame,
    FrameContent,
    Header,
    KeptFile,
    LayerRule,
    LowRankRecord,
    MergedVersion,
    MergeRecipe,
    Omission,
    Part,
    RawRecord,
    Result,
    SameRecord,
    Source,
    TensorFile,
    TensorRecord,
    TreeFile,
    View,
)


def decode(data: bytes) -> Any:
    """The value of a canonical text whose weight was checked. Raises `ContainerError` for any other."""
    try:
        return canonical.decode(data, weighed=True)
    except canonical.NotCanonical as error:
        raise ContainerError(f"the header is {error}") from error


class Fields:
    """One JSON object of the header, read field by field; `where` names it in errors.

    Every method raises `ContainerError`.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ContainerError(f"{where} is not an object")
        self._left = dict(value)
        self._where = where

    def take(self, name: str) -> Any:
        if name not in self._left:
            raise ContainerError(f"{self._where} has no field {name!r}")
        return self._left.pop(name)

    def has(self, name: str) -> bool:
        """True if an optional field is present and was not taken yet."""
        return name in self._left

    def integer(self, name: str, least: int, most: int) -> int:
        value = self.take(name)
        if type(value) is not int:
            raise ContainerError(f"{self._where}: {name} is not an integer")
        if not least <= value <= most:
            raise ContainerError(f"{self._where}: {name} is outside {least}..{most}")
        return value

    def optional_integer(self, name: str, least: int, most: int) -> int:
        """Take an integer field; 0 if it is absent."""
        return self.integer(name, least, most) if self.has(name) else 0

    def real(self, name: str) -> float:
        value = self.take(name)
        if type(value) is not float:
            raise ContainerError(f"{self._where}: {name} is not a real number")
        if not math.isfinite(value) or math.copysign(1.0, value) < 0:
            raise ContainerError(f"{self._where}: {name} is not a finite number of at least 0")
        return value

    def text(self, name: str, most_bytes: int, least_bytes: int = 1) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise ContainerError(f"{self._where}: {name} is not a string")
        try:
            length = len(value.encode())
        except UnicodeEncodeError as error:
            raise ContainerError(f"{self._where}: {name} holds half a surrogate pair") from error
        if not least_bytes <= length <= most_bytes:
            raise ContainerError(
                f"{self._where}: {name} must have {least_bytes}..{most_bytes} bytes"
            )
        return value

    def hexadecimal(self, name: str, digits: int) -> str:
        value = self.text(name, digits)
        if len(value) != digits or not set(value) <= set("0123456789abcdef"):
            raise ContainerError(f"{self._where}: {name} is not {digits} hexadecimal digits")
        return value

    def array(self, name: str, most: int, least: int = 0) -> list[Any]:
        value = self.take(name)
        if not isinstance(value, list):
            raise ContainerError(f"{self._where}: {name} is not an array")
        if not least <= len(value) <= most:
            raise ContainerError(f"{self._where}: {name} must have {least}..{most} entries")
        return value

    def end(self) -> None:
        """Refuse all fields that were not taken."""
        if self._left:
            name = min(self._left)
            raise ContainerError(f"{self._where} has an unknown field {name!r}")


def shape_fits(shape: Iterable[int]) -> bool:
    """True if a tensor of this shape is within the limits, not counting dimensions of 0."""
    return math.prod(size for size in shape if size) * 16 <= limits.MAX_SIZE


def parse_shape(fields: Fields, where: str) -> tuple[int, ...]:
    """Read the field `shape`. Raises `ContainerError`."""
    shape = fields.array("shape", limits.MAX_DIMENSIONS)
    if not all(type(size) is int and 0 <= size <= limits.MAX_SIZE for size in shape):
        raise ContainerError(f"{where}: shape has an entry that is not a size")
    if not shape_fits(shape):
        raise ContainerError(f"{where}: the shape has too many elements")
    return tuple(shape)


def parse_result(value: Any, where: str) -> Result:
    """Inverse of `result_object`. Raises `ContainerError`."""
    fields = Fields(value, where)
    result = Result(
        path=fields.text("path", limits.MAX_NAME_BYTES),
        sha256=fields.hexadecimal("sha256", 64),
        size=fields.integer("size", 0, limits.MAX_SIZE),
    )
    fields.end()
    return result


def parse_fidelity(value: Any) -> Fidelity:
    """Read `encoding.fidelity`; `check_fidelity` checks the rules across fields.

    Raises `ContainerError` for a field that breaks its own rule.
    """
    fields = Fields(value, "encoding.fidelity")
    fidelity = Fidelity(
        error=fields.real("error"),
        max_error=fields.real("max_error") if fields.has("max_error") else None,
        budget=fields.integer("budget", 1, limits.MAX_SIZE) if fields.has("budget") else None,
    )
    fields.end()
    return fidelity


def parse_tree(fields: Fields, *, is_named: bool) -> tuple[TreeFile, ...] | None:
    """Read the field `tree` of a header; None if it is absent. Raises `ContainerError`.

    `is_named`: whether `requires` names the feature. `check_tree` checks the rules across fields.
    """
    is_present = fields.has("tree")
    if is_named and not is_present:
        raise ContainerError("requires names 'tree', and there is no field of that name")
    if is_present and not is_named:
        raise ContainerError("there is a field 'tree', and requires does not name it")
    if not is_present:
        return None
    files = fields.array("tree", limits.MAX_FILES, least=1)
    return tuple(_file(value, f"tree[{i}]") for i, value in enumerate(files))


def _file(value: Any, where: str) -> TreeFile:
    fields = Fields(value, where)
    kind, path = fields.text("kind", 32), fields.text("path", limits.MAX_NAME_BYTES)
    file: TreeFile
    if kind == "tensors":
        file = TensorFile(path, fields.text("prefix", limits.MAX_NAME_BYTES, least_bytes=0))
    elif kind in ("stored", "base"):
        sha256, size = fields.hexadecimal("sha256", 64), fields.integer("size", 0, limits.MAX_SIZE)
        file = KeptFile(path, sha256, size, of_base=kind == "base")
    else:
        raise ContainerError(f"{where}: unknown kind {kind!r}")
    fields.end()
    return file


def _merge(fields: Fields, *, is_named: bool) -> MergeRecipe | None:
    """Read the field `merge` of a header; None if it is absent. Raises `ContainerError`.

    `is_named`: whether `requires` names the feature. `check_merge` checks the rules across fields.
    """
    if is_named != fields.has("merge"):
        raise ContainerError("whether there is a field 'merge' is not as `requires` says")
    if not is_named:
        return None
    merge = Fields(fields.take("merge"), "merge")
    recipe = MergeRecipe(
        tuple(map(_merged_version, merge.array("versions", limits.MAX_MERGED, least=1))),
        tuple(map(_layer_rule, merge.array("layers", limits.MAX_MERGED))),
        merge.hexadecimal("take_from", 64) if merge.has("take_from") else None,
    )
    merge.end()
    return recipe


def _merged_version(value: Any) -> MergedVersion:
    fields = Fields(value, "merge.versions")
    name, container = (
        fields.text("name", limits.MAX_NAME_BYTES),
        fields.hexadecimal("container", 64),
    )
    version = MergedVersion(name, container, _weight(fields))
    fields.end()
    return version


def _layer_rule(value: Any) -> LayerRule:
    fields = Fields(value, "merge.layers")
    container = fields.hexadecimal("container", 64) if fields.has("container") else None
    rule = LayerRule(fields.text("pattern", limits.MAX_NAME_BYTES), _weight(fields), container)
    fields.end()
    return rule


def _weight(fields: Fields) -> float:
    """A real of either sign; 0 is written in one way only."""
    value = fields.take("weight")
    if type(value) is not float or not math.isfinite(value):
        raise ContainerError("merge: a weight is not a finite real number")
    if value == 0 and math.copysign(1.0, value) < 0:
        raise ContainerError("merge: a weight is -0.0")
    return value


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
            map(_omission, fields.array("left_out", limits.MAX_TENSORS), _entries("left_out"))
        ),
        tensors=tuple(
            map(_tensor, fields.array("tensors", limits.MAX_TENSORS), _entries("tensors"))
        ),
        frames=_frames(fields.array("frames", limits.MAX_FRAMES), payload_offset),
        payload_sha256=fields.hexadecimal("payload_sha256", 64),
        results=tuple(
            map(
                parse_result,
                fields.array("results", limits.MAX_FILES if "tree" in requires else 1, least=1),
                _entries("results"),
            )
        ),
        packed="packed" in requires,
        loose_header="loose_header" in requires,
        tree=parse_tree(fields, is_named="tree" in requires),
        merge=_merge(fields, is_named="merge" in requires),
    )
    for part in (fields, base, source):
        part.end()
    if ("cast" in header.requires) != ("cast" in requires):
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


def _entries(array: str) -> Iterator[str]:
    """The places of the entries of an array, for errors: `array[0]`, `array[1]` and so on."""
    return (f"{array}[{i}]" for i in itertools.count())


def _based(fields: Fields, where: str) -> tuple[tuple[BaseTensor, ...], View, int]:
    """Read the base tensors, the view and the number of new rows of a record with a base."""
    entries = fields.array("base", limits.MAX_BASE_TENSORS_PER_RECORD, least=1)
    base = tuple(map(_base_tensor, entries, _entries(f"{where}.base")))
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
