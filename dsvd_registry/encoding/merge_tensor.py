"""One tensor of a merge: a weighted sum of versions' deltas, or the bytes that the versions agree on.

The first version decides the name, the dtype and the shape. Deltas to the same base tensors are added
up, also those of tensors that are stored raw but have a counterpart in the base. All others have no
sum: integers, tensors that the base lacks, other shapes, numbers that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import assert_never

import torch

from ..checkpoint import LeftOut, TensorInfo
from ..checkpoint.layer_groups import layer_group
from ..checkpoint.layout import canonical_layout, kept_layout
from ..checkpoint.tensor_info import DELTA_DTYPES
from ..codec.components import Components, Elements
from ..codec.encode_sum import DeltaSum, FactorSum, MatrixSum, float_factors
from ..codec.encoded import Reason
from ..codec.exact_product_torch import CPU, ieee_arithmetic
from ..codec.tensor_pair import matrix_shape
from ..codec.torch_tensors import TORCH_DTYPES, tensor_over
from ..container.delta_decoder import decoded_delta
from ..container.reader import Container
from ..container.records import (
    BasedRecord,
    CastRecord,
    DenseRecord,
    Header,
    LowRankRecord,
    MergeRecipe,
    Omission,
    QuantisedRecord,
    RawRecord,
    SameRecord,
    Source,
    TensorFile,
    TensorRecord,
)
from ..errors import InvalidArgument
from ..hashing import sha256
from ..layouts import map_names
from ..layouts.view import is_alike
from ..reconstruction.base_weights import BaseWeights
from .encode_tensor import viewed_bytes
from .fine_tune import Counterpart

# Raw tensors whose difference from the base is a delta like any other.
SUMMABLE_RAW: tuple[Reason, ...] = ("constant", "signed_zero", "smaller", "range")


class MergeSource:
    """An open version that takes part in a merge. `name`: the version's, for messages."""

    def __init__(self, name: str, container: Container) -> None:
        self.name, self.container = name, container
        self.places = {tensor.name: i for i, tensor in enumerate(container.header.tensors)}

    def record(self, name: str) -> TensorRecord | None:
        """The record of a tensor; None if the version lacks it."""
        return self.container.header.tensors[self.places[name]] if name in self.places else None


@dataclass(frozen=True)
class Term:
    """A delta of a sum: the record of one version, at place `index`, and its weight."""

    weight: float
    source: MergeSource
    index: int
    record: TensorRecord


@dataclass(frozen=True)
class Summed:
    """A tensor of the result whose common rows are the base's plus the sum of `terms`.

    `new_rows`: whose further rows it has; None if it has none. `is_constant`: it is stored raw.
    """

    info: TensorInfo
    counterpart: Counterpart
    terms: tuple[Term, ...]
    new_rows: Term | None
    is_constant: bool


class TensorMerge:
    """Decides for each tensor of the first of `sources` what it is made of.

    `weights`: those of a tensor in each source, by the tensor's name. `take_from`: the source that
    decides where tensors without a sum differ; None to refuse them.
    """

    def __init__(
        self,
        sources: Sequence[MergeSource],
        weights: Mapping[str, Sequence[float]],
        take_from: MergeSource | None,
        base: BaseWeights,
    ) -> None:
        self._sources, self._weights, self._base = sources, weights, base
        self._take_from = take_from

    def plan(self, name: str) -> Summed | Term:
        """The sum, or the one record that is taken as it is.

        Raises `InvalidArgument` if there is no sum and the versions differ.
        """
        there = []
        for weight, source in zip(self._weights[name], self._sources, strict=True):
            record = source.record(name)
            if record is not None:
                there.append(Term(weight, source, source.places[name], record))
        first = there[0]
        voters = [term for term in there if term.weight]
        counterpart = self._counterpart(first, voters)
        if counterpart is None:
            return self._agreed(first, voters or [first])
        longer = [term for term in (first, *voters) if _new_rows(term.record)]
        rows = self._agreed_rows(first, longer) if longer else None
        return Summed(
            info=first.record,
            counterpart=counterpart,
            terms=tuple(t for t in voters if isinstance(t.record, _CHANGED)),
            new_rows=rows,
            is_constant=any(
                isinstance(t.record, RawRecord) and t.record.reason == "constant" for t in voters
            ),
        )

    def _counterpart(self, first: Term, voters: Sequence[Term]) -> Counterpart | None:
        """The part of the base that all deltas are taken against; None if they have no sum."""
        terms = (first, *voters)
        based = [t.record for t in terms if isinstance(t.record, BasedRecord)]
        for term in voters:
            if isinstance(term.record, BasedRecord) and _against(term.record) != _against(based[0]):
                raise _other_layout(first.record.name, first, term)
        if based:
            new_rows = _new_rows(first.record)
            shape = based[0].common_shape if new_rows else first.record.shape
            if not is_alike(shape, based[0].common_shape):
                return None
            counterpart = Counterpart(based[0].viewed_base, shape, new_rows)
        elif first.record.name in self._named:
            counterpart = self._named[first.record.name]
        else:
            return None
        if all(isinstance(t.record, SameRecord) for t in terms):
            return counterpart
        floats = {t.record.dtype for t in terms} | {b.dtype for b in counterpart.base.tensors}
        has_sum = floats <= set(DELTA_DTYPES) and all(
            isinstance(t.record, BasedRecord)
            or (
                isinstance(t.record, RawRecord)
                and t.record.reason in SUMMABLE_RAW
                and is_alike(t.record.shape, counterpart.shape)
            )
            for t in terms
        )
        return counterpart if has_sum else None

    @cached_property
    def _named(self) -> Mapping[str, Counterpart]:
        """The counterparts of raw tensors by their names and shapes alone."""
        tensors = {t.name: t for t in self._sources[0].container.header.tensors}
        found = {}
        for match in map_names(self._base.tensors, tensors).correspondences:
            viewed = match.base.resolve(self._base.tensors)
            if is_alike(viewed.shape, tensors[match.tensor].shape):
                shape = tensors[match.tensor].shape
                found[match.tensor] = Counterpart(viewed, shape, 0)
        return found

    def _agreed(self, first: Term, voters: Sequence[Term]) -> Term:
        """The record whose content all voters have. Raises `InvalidArgument` if they differ."""
        chosen = [t for t in voters if t.source is self._take_from] or voters
        like = (first.record.dtype, first.record.shape)
        contents = {self._content(term) for term in chosen}
        if len(contents) > 1:
            raise _differ(first.record.name, chosen)
        if (chosen[0].record.dtype, chosen[0].record.shape) != like:
            raise InvalidArgument(
                f"tensor {first.record.name!r} has another dtype or shape in"
                f" {chosen[0].source.name} than in {first.source.name}, and no sum",
                f"Put {chosen[0].source.name} first: the first version decides dtypes and shapes.",
            )
        return chosen[0]

    def _agreed_rows(self, first: Term, longer: Sequence[Term]) -> Term:
        """The version whose new rows all others have that have any."""
        chosen = [t for t in longer if t.source is self._take_from] or longer
        rows = {(t.record.shape, sha256(t.source.container.raw(t.index))) for t in chosen}
        if len(rows) > 1 or chosen[0].record.shape != first.record.shape:
            raise _differ(first.record.name, chosen, "rows that the base lacks")
        return chosen[0]

    def _content(self, term: Term) -> object:
        """A value that is equal for records with one content."""
        record, container = term.record, term.source.container
        match record:
            case RawRecord():
                return record.dtype, record.shape, sha256(container.raw(term.index))
            case CastRecord():
                return record.dtype, container.header.tensors[record.of].name
            case SameRecord() if not record.new_rows and record.base[0].dtype == record.dtype:
                counterpart = Counterpart(record.viewed_base, record.shape, 0)
                return record.dtype, record.shape, sha256(viewed_bytes(counterpart, self._base))
            case SameRecord() | LowRankRecord() | DenseRecord() | QuantisedRecord():
                return term.source, term.index
            case _:
                assert_never(record)


_CHANGED = (LowRankRecord, DenseRecord, RawRecord)


def sum_of(summed: Summed, base: BaseWeights) -> DeltaSum:
    """The exact sum of the terms: as factors where these are fewer numbers than the matrix.

    Raises `BaseMismatch`, `ContainerError`.
    """
    counterpart = summed.counterpart
    dtype = TORCH_DTYPES[summed.info.dtype]
    data = viewed_bytes(counterpart, base)
    before = tensor_over(data, counterpart.base.tensors[0].dtype, counterpart.shape)
    rows, columns = matrix_shape(before)
    ranks = [t.record.rank if isinstance(t.record, LowRankRecord) else rows for t in summed.terms]
    with ieee_arithmetic(CPU):
        if sum(ranks) < min(rows, columns):
            factors = [_factors(term) for term in summed.terms]
            ups, downs = [up for up, _ in factors], [down for _, down in factors]
            return FactorSum(before, torch.cat(ups, 1), torch.cat(downs), dtype)
        total = torch.zeros(rows, columns, dtype=torch.float64, device="cpu")
        for term in summed.terms:
            _add(term, before.reshape(rows, columns), total)
        return MatrixSum(before, total, dtype)


def _factors(term: Term) -> tuple[torch.Tensor, torch.Tensor]:
    delta = decoded_delta(term.source.container, term.index)
    assert isinstance(delta, Components)
    up, down = float_factors(delta)
    return up * term.weight, down


def _add(term: Term, before: torch.Tensor, total: torch.Tensor) -> None:
    """Add a term's delta, times its weight, to the matrix `total`."""
    if isinstance(term.record, RawRecord):
        data = memoryview(term.source.container.raw(term.index))
        raw = tensor_over(data, term.record.dtype, term.record.shape).to(torch.float64)
        total.add_(raw.reshape(total.shape).sub_(before), alpha=term.weight)
        return
    delta = decoded_delta(term.source.container, term.index)
    match delta:
        case Components():
            up, down = float_factors(delta)
            total.addmm_(up * term.weight, down)
        case Elements():
            values = torch.from_numpy(delta.values).to(torch.float64).reshape(total.shape)
            total.add_(values, alpha=term.weight * 2.0**delta.exponent)
        case None:
            pass
        case _:
            assert_never(delta)


def _against(record: BasedRecord) -> object:
    """The common ground of two records whose deltas can be added up."""
    shape = record.common_shape
    return [tensor.sha256 for tensor in record.base], record.view, shape[:1], math.prod(shape)


def _new_rows(record: TensorRecord) -> int:
    return record.new_rows if isinstance(record, BasedRecord) else 0


def _other_layout(name: str, first: Term, other: Term) -> InvalidArgument:
    return InvalidArgument(
        f"{other.source.name} is in another layout than {first.source.name}: its tensor {name!r}"
        " comes from another part of the base",
        f"Add it again in the layout of {first.source.name}: `dsvd materialize --layout` writes it.",
    )


def _differ(name: str, terms: Sequence[Term], what: str = "") -> InvalidArgument:
    names = " and ".join(dict.fromkeys(term.source.name for term in terms))
    has = f"{what} of tensor {name!r} differ" if what else f"tensor {name!r} differs"
    return InvalidArgument(
        f"{has} in {names}, and cannot be added up",
        "Give --take-from the version that such tensors are to be taken from.",
    )


def check_layouts(sources: Sequence[MergeSource]) -> None:
    """Raise `InvalidArgument` if a version has the first one's parts of the base by other names."""
    first = sources[0]
    names = {
        tensor.sha256: record.name
        for record in first.container.header.tensors
        if isinstance(record, BasedRecord)
        for tensor in record.base
    }
    for source in sources[1:]:
        for index, record in enumerate(source.container.header.tensors):
            if record.name in first.places or not isinstance(record, BasedRecord):
                continue
            own = {names.get(tensor.sha256) for tensor in record.base} - {None}
            if own and not own & source.places.keys():
                place = first.places[min(filter(None, own))]
                whose = Term(1.0, first, place, first.container.header.tensors[place])
                raise _other_layout(record.name, whose, Term(1.0, source, index, record))


@dataclass(frozen=True)
class OpenMerge:
    """A merge whose versions and whose base are open.

    `sources`: the versions of the recipe, in its order. `source`: the digest of the recipe.
    """

    recipe: MergeRecipe
    sources: Sequence[MergeSource]
    source: Source
    base: BaseWeights

    @property
    def header(self) -> Header:
        """The header of the first version."""
        return self.sources[0].container.header

    def weights(self, name: str) -> tuple[float, ...]:
        """The weight of a tensor in each version. The last rule that matches it counts."""
        found = []
        for version in self.recipe.versions:
            rules = [
                rule.weight
                for rule in self.recipe.layers
                if rule.container in (None, version.container) and matches(rule.pattern, name)
            ]
            found.append(version.weight * (rules[-1] if rules else 1.0))
        return tuple(found)

    def tensors(self) -> TensorMerge:
        """The sources of each tensor."""
        taken = [
            source
            for source, version in zip(self.sources, self.recipe.versions, strict=True)
            if version.container == self.recipe.take_from
        ]
        weights = {record.name: self.weights(record.name) for record in self.header.tensors}
        return TensorMerge(self.sources, weights, taken[0] if taken else None, self.base)


def matches(pattern: str, name: str) -> bool:
    """True if a shell pattern matches a tensor's name, or the name of its layer group."""
    return fnmatchcase(name, pattern) or fnmatchcase(layer_group(name), pattern)


def left_out(sources: Sequence[MergeSource]) -> Iterator[Omission]:
    """The changes of the versions in tensors that the first one lacks."""
    for source in sources[1:]:
        for record in source.container.header.tensors:
            if record.name not in sources[0].places and not isinstance(record, SameRecord):
                yield Omission.of(LeftOut(record.name, f"only in {source.name}"))


def data_order(header: Header, first: MergeSource) -> Iterator[TensorRecord]:
    """The tensors in the order of the result's data, so that materialising reads every frame once."""
    if header.tree is None:
        for name in canonical_layout(header.tensors, {}).order:
            yield header.tensors[first.places[name]]
        return
    files = [file for file in header.tree if isinstance(file, TensorFile)]
    for file, source_header in zip(files, first.container.source_headers(), strict=True):
        for name in kept_layout(source_header).order:
            yield header.tensors[first.places[file.prefix + name]]
