"""The contents of a header as plain values: tensor records, frames, results and their like.

Every class mirrors one entry of the header (spec, section "Header").
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from ..checkpoint import LeftOut
from ..checkpoint.tensor_info import Fingerprint, TensorInfo
from ..codec.encoded import DeltaFigures, LowRankFigures
from ..hashing import Source as Source
from ..layouts.view import VIEW_KINDS as VIEW_KINDS
from ..layouts.view import View as View
from ..layouts.view import ViewedTensors
from . import limits
from .quantisation import Quantisation

FrameContent = Literal["tables", "elements", "bytes", "source_header", "files", "components"]
FRAME_ORDER: tuple[FrameContent, ...] = (
    "tables",
    "elements",
    "bytes",
    "source_header",
    "files",
    "components",
)
RESULT_PATH = "model.safetensors"
LORA_FORMAT = "lora"
MERGE_FORMAT = "merge"
"""The formats of sources that are no checkpoint."""

Aim = Literal["tau", "max_error", "budget"]
AIMS: tuple[Aim, ...] = get_args(Aim)
FileKind = Literal["tensors", "stored", "base"]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)
RecordKind = Literal["same", "low_rank", "dense", "raw", "cast", "quantised"]
RECORD_KINDS: tuple[RecordKind, ...] = get_args(RecordKind)
RawReason = Literal[
    "new",
    "shape",
    "dtype",
    "base_dtype",
    "non_finite",
    "signed_zero",
    "constant",
    "smaller",
    "range",
    "quantised",
    "scheme",
]
RAW_REASONS: dict[RawReason, str] = {
    "new": "the base has no tensor of this name",
    "shape": "the base's tensor has another shape",
    "dtype": "deltas are taken of F32, F16 and BF16 only",
    "base_dtype": "the base's tensor is not F32, F16 or BF16",
    "non_finite": "NaN or infinity in the tensor or in the base's",
    "signed_zero": "equal in value to the base's, not in bits",
    "constant": "ids, a schedule, statistics or scales: kept exactly, and counted in no error",
    "smaller": "the bytes themselves are smaller than a delta",
    "range": "the delta is outside the range of the grid, or its reconstruction is not finite",
    "quantised": "quantised weights, which a lossless version (--lossless) alone stores by what differs",
    "scheme": "quantised by a scheme that is not known, or not from this base",
}


BaseTensor = Fingerprint
"""A tensor of the base, identified by its name and its content."""


@dataclass(frozen=True)
class BasedRecord(TensorInfo):
    """A record of a tensor with a counterpart in the base: `base` tensors seen through `view`.

    The last `new_rows` rows (first dimension) have no counterpart, and are stored as raw bytes.
    Name, dtype and shape of this and of every other record are those of the result's tensor.
    """

    base: tuple[BaseTensor, ...]
    view: View
    new_rows: int

    @property
    def viewed_base(self) -> ViewedTensors[BaseTensor]:
        """The base tensors and the view that makes the counterpart of them."""
        return ViewedTensors(self.base, self.view)

    @property
    def common_shape(self) -> tuple[int, ...]:
        """The shape of the rows that have a counterpart in the base."""
        if not self.new_rows:
            return self.shape
        return (self.shape[0] - self.new_rows, *self.shape[1:])


@dataclass(frozen=True)
class SameRecord(BasedRecord):
    """A tensor whose bits are those of the base, cast to `dtype`."""

    kind: ClassVar[RecordKind] = "same"


@dataclass(frozen=True)
class DeltaRecord(BasedRecord, DeltaFigures):
    """A delta to the base on the integer grid, with its figures: parent of all kinds that store one."""


@dataclass(frozen=True)
class LowRankRecord(DeltaRecord, LowRankFigures):
    """A delta as `rank` stored components of the (rows, rest) matrix of the common rows."""

    kind: ClassVar[RecordKind] = "low_rank"
    rank: int

    @property
    def matrix_shape(self) -> tuple[int, int]:
        return self.shape[0] - self.new_rows, math.prod(self.shape[1:])

    @property
    def full_rank(self) -> int:
        return min(self.shape[0] - self.new_rows, math.prod(self.shape[1:]))


@dataclass(frozen=True)
class DenseRecord(DeltaRecord):
    """A delta as one integer per element, times 2**exponent; `maximum` is their largest magnitude."""

    kind: ClassVar[RecordKind] = "dense"
    exponent: int
    maximum: int


@dataclass(frozen=True)
class RawRecord(TensorInfo):
    """A tensor that is stored as the bytes of the source, for `reason`."""

    kind: ClassVar[RecordKind] = "raw"
    reason: RawReason


@dataclass(frozen=True)
class CastRecord(TensorInfo):
    """The tensor of record number `of`, rounded to `dtype` (spec, "Reconstruction")."""

    kind: ClassVar[RecordKind] = "cast"
    of: int


@dataclass(frozen=True)
class QuantisedRecord(BasedRecord):
    """The counterpart in the base, quantised by the rule of `quantisation`; it has no new rows.

    What the source's own codes are is told by a residual.
    """

    kind: ClassVar[RecordKind] = "quantised"
    quantisation: Quantisation

    @property
    def common_shape(self) -> tuple[int, ...]:
        """The (rows, columns) of the matrix of weights: as many as there are codes."""
        return self.weights_shape

    @property
    def weights_shape(self) -> tuple[int, int]:
        """The same, as a pair."""
        codes, columns = self.elements * 8 // self.quantisation.bits, self.quantisation.columns
        return codes // columns, columns


TensorRecord = SameRecord | LowRankRecord | DenseRecord | RawRecord | CastRecord | QuantisedRecord
"""The record of one tensor. Add a new kind here: mypy then reports every `match` that lacks it."""


@dataclass(frozen=True)
class Part:
    """The part of one tensor in a frame: `count` components, elements or bytes of tensor `tensor`."""

    tensor: int
    count: int


@dataclass(frozen=True)
class Frame:
    """One zstd frame of the payload, of `raw` bytes and `stored` compressed ones.

    `offset`: from the start of the file; the header does not contain it.
    """

    content: FrameContent
    parts: tuple[Part, ...]
    raw: int
    stored: int
    sha256: str
    offset: int = 0

    def at(self, offset: int) -> Frame:
        """The same frame at another position."""
        return replace(self, offset=offset)


@dataclass(frozen=True)
class Result:
    """A file that the version gives when it is materialised, with its digest and size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Encoding:
    """The settings that a fine-tune was encoded with: tau in (0, 1], and the allowed grid noise.

    tau is a whole number of millionths. At most one of the others is set; then tau follows from the
    ranks: it is one that every record serves, and `grid_noise` is 0.0. `max_error`: the largest
    relative Frobenius error allowed over all deltas together, in (0, 1). `budget`: the largest size
    of the container in bytes, at least 1.
    """

    tau: float
    grid_noise: float
    max_error: float | None = None
    budget: int | None = None


@dataclass(frozen=True)
class Omission:
    """An entry of the source that is not a tensor of the result, and the reason."""

    name: str
    reason: str

    @classmethod
    def of(cls, entry: LeftOut) -> Omission:
        """The container's form of an entry that was left out of a checkpoint.

        Names come from the file: they may be empty, or too long for a container.
        """
        most = limits.MAX_NAME_BYTES // 4  # characters, of at most four bytes each
        return cls(entry.name[:most] or "''", entry.reason[:most] or "''")


@dataclass(frozen=True)
class TensorFile:
    """A file of a folder with tensors, whose names in the whole checkpoint begin with `prefix`."""

    path: str
    prefix: str

    @property
    def kind(self) -> FileKind:
        return "tensors"


@dataclass(frozen=True)
class KeptFile:
    """A file of a folder without tensors: stored in the payload, or taken from the base if `of_base`."""

    path: str
    sha256: str
    size: int
    of_base: bool

    @property
    def kind(self) -> FileKind:
        return "base" if self.of_base else "stored"


TreeFile = TensorFile | KeptFile


@dataclass(frozen=True)
class MergedVersion:
    """A version that takes part in a merge: its name there, its container's SHA-256, its weight."""

    name: str
    container: str
    weight: float


@dataclass(frozen=True)
class LayerRule:
    """A factor for the weights of the tensors that a shell pattern matches.

    `pattern`: of a tensor's name or of its layer group. `container`: that of the only version that
    the rule is for; None for all.
    """

    pattern: str
    weight: float
    container: str | None = None


@dataclass(frozen=True)
class MergeRecipe:
    """The versions that a container was merged from, the first of which decides names and dtypes.

    `take_from`: the container whose tensors were taken where versions have no sum and differ.
    """

    versions: tuple[MergedVersion, ...]
    layers: tuple[LayerRule, ...] = ()
    take_from: str | None = None


def record_numbers(names: Iterable[str]) -> dict[str, int]:
    """The number of each tensor's record, ascending: records are sorted by the names' UTF-8 bytes."""
    return {name: number for number, name in enumerate(sorted(names, key=str.encode))}


@dataclass(frozen=True)
class Header:
    """The whole header. `tensors` are sorted by the UTF-8 bytes of their names.

    `tree`: the files of a result that is a folder, sorted by the UTF-8 bytes of their paths; None
    for a single file. `merge`: the recipe of a merge of other versions; None for any other source.
    """

    base_digest: str
    base_name: str
    encoding: Encoding
    source: Source
    left_out: tuple[Omission, ...]
    tensors: tuple[TensorRecord, ...]
    frames: tuple[Frame, ...]
    results: tuple[Result, ...]
    tree: tuple[TreeFile, ...] | None = None
    merge: MergeRecipe | None = None

    def may_differ(self, tensor: TensorRecord) -> bool:
        """True if the result of one of `tensors` may differ from its source."""
        known = self.tensors[tensor.of] if isinstance(tensor, CastRecord) else tensor
        return isinstance(known, DeltaRecord | QuantisedRecord)

    @property
    def is_lossy(self) -> bool:
        """True if the result may differ from the source."""
        return any(isinstance(tensor, DeltaRecord | QuantisedRecord) for tensor in self.tensors)

    @property
    def keeps_source(self) -> bool:
        """True if the source is a single file and the result equals it to the byte."""
        return self.keeps_files and not self.is_lossy and self.tree is None

    @property
    def keeps_files(self) -> bool:
        """True if a file of the source comes back to the byte if all of its tensors do."""
        return any(frame.content == "source_header" for frame in self.frames)
