"""The content of a LoRA file: each delta of a version as a pair, as it is, or left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

import torch

from ..container.records import (
    BasedRecord,
    CastRecord,
    DenseRecord,
    Header,
    LowRankRecord,
    QuantisedRecord,
    RawRecord,
    SameRecord,
    TensorRecord,
)
from ..layouts.view import Shape
from .exported import LeftOut, Module
from .fold_exponents import Delta, Factors, decomposed, sufficient_rank
from .formats import ATTENTION_END, LoraFormat
from .layers import MODELS, Layer, Layers
from .pairs import Loss, Pair, cast, empty_pair, filled_pair, make_pair
from .version_deltas import Deltas, missing_delta, square_norm, viewed_delta

_NEW_ROWS = "rows that the base lacks"
_NO_LAYER = "no layer that a LoRA of this family changes"
_NO_MODULE = "the format has no such module"
_NO_VECTOR = "the format holds low-rank pairs only"


@dataclass
class Collected:
    """The content of a file, and the account of what is left out.

    `pairs`: the low-rank pairs, by key. `modules`: key, stored rank and loss of each pair. `whole`:
    the deltas that are stored whole, by key. `losses`: of all deltas in the file. `omitted`: name,
    reason and squared norm of each delta that is left out; None where there is no delta.
    """

    pairs: dict[str, Pair] = field(default_factory=dict)
    modules: list[tuple[str, int, Loss]] = field(default_factory=list)
    whole: dict[str, torch.Tensor] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    omitted: list[tuple[str, str, float | None]] = field(default_factory=list)

    def total(self) -> float:
        """The squared norm of the whole delta."""
        omitted = sum(square for _, _, square in self.omitted if square is not None)
        return sum(loss.norm for loss in self.losses) + omitted

    def left_out(self) -> Iterator[LeftOut]:
        """The tensors that are not in the file, sorted by name."""
        norm = math.sqrt(self.total())
        for name, reason, square in sorted(self.omitted, key=lambda one: one[:2]):
            error = None if square is None else math.sqrt(square) / norm if norm else 0.0
            yield LeftOut(name, reason, error)

    def module_rows(self) -> Iterator[Module]:
        """The account of every pair, in the version's order; pairs without a change come last."""
        for key, stored, loss in self.modules:
            error = math.sqrt(loss.lost / loss.norm) if loss.norm else 0.0
            yield Module(key, self.pairs[key].rank, stored, self.pairs[key].alpha, error)


def planned_ranks(header: Header, layers: Layers, limit: int | None) -> Iterator[int]:
    """The ranks of the modules, as far as they follow from the header.

    A dense matrix has the rank of the limit, or one that follows from its numbers only.
    """
    for record in header.tensors:
        stored = _stored_rank(header, record, limit)
        if stored is not None:
            for viewed in layers.views.get(record.name, ()):
                if viewed.layer.is_matrix:
                    yield min(_limited(stored, limit), *sides(viewed.layer.shape))


def _stored_rank(header: Header, record: TensorRecord, limit: int | None) -> int | None:
    match record:
        case LowRankRecord():
            return record.rank
        case DenseRecord():
            return limit
        case SameRecord() | RawRecord() | QuantisedRecord():
            return None
        case CastRecord():
            return _stored_rank(header, header.tensors[record.of], limit)
        case _:
            assert_never(record)


def collect(
    header: Header,
    deltas: Deltas,
    layers: Layers,
    lora: LoraFormat,
    limit: int | None,
    dtype: torch.dtype,
    advance: Callable[[int], None],
) -> Collected:
    """Collect the deltas of all tensors. Raises `InvalidArgument` for a delta over fp16's range."""
    collector = Collector(layers, lora, limit, dtype)
    for index, record in enumerate(header.tensors):
        # A layer's weights in another precision are no change besides that of the layer.
        if not isinstance(record, CastRecord) or record.name in layers.views:
            collector.take(record, deltas.of(index))
        advance(record.nbytes)
    collector.complete()
    return collector.collected


class Collector:
    """A collector that takes the deltas of a version one by one."""

    def __init__(
        self, layers: Layers, lora: LoraFormat, limit: int | None, dtype: torch.dtype
    ) -> None:
        self.collected = Collected()
        self._layers, self._lora, self._limit, self._dtype = layers, lora, limit, dtype
        self._filled = limit if lora.fills_rank else None

    def take(self, record: TensorRecord, delta: Delta | None) -> None:
        """Take one tensor, and its delta if it has one."""
        omitted = self.collected.omitted
        if isinstance(record, BasedRecord) and record.new_rows:
            omitted.append((record.name, _NEW_ROWS, None))
        if delta is None:
            reason = missing_delta(record)
            if reason is not None:
                omitted.append((record.name, reason, None))
            return
        views = self._layers.views.get(record.name, ())
        if not views:
            omitted.append((record.name, _NO_LAYER, square_norm(delta)))
        for viewed in views:
            part = viewed_delta(delta, viewed.view)
            reason = self._take_layer(viewed.layer, part)
            if reason is not None:
                omitted.append((record.name, reason, square_norm(part)))

    def complete(self) -> None:
        """Add the pairs without a change that loaders need (see `LoraFormat`)."""
        if self._filled is not None:
            self._fill(self._filled)
        if self._lora.wants_attention:
            self._add_attention()

    def _fill(self, rank: int) -> None:
        """Add a pair of this rank for each module without one: of the U-Net or transformer, so that no
        swap leaves the subject before in it; and of the text encoders that change."""
        taken = set(self.collected.pairs)
        main, *others = MODELS[self._layers.family]
        for model in (main, *others) if taken else ():
            keys = {
                self._lora.pair_key(one): one for one in self._layers.of(model) if one.is_matrix
            }
            if model != main and taken.isdisjoint(keys):
                continue
            for key, layer in keys.items():
                if key is not None and key not in taken:
                    pair = empty_pair(layer.shape, rank, self._lora.alpha(rank), self._dtype)
                    self._add(key, pair, 0, Loss(0.0, 0.0))

    def _add_attention(self) -> None:
        """Add the attention layer by which diffusers recognises the kind of names."""
        for model in ("text_encoder", "text_encoder_2"):
            keys = {self._lora.pair_key(layer): layer for layer in self._layers.of(model)}
            taken = [layer.path for key, layer in keys.items() if key in self.collected.pairs]
            ends = [
                layer
                for layer in self._layers.of(model)
                if layer.path.endswith(ATTENTION_END) and layer.is_matrix
            ]
            if taken and ends and not any(path.endswith(ATTENTION_END) for path in taken):
                key = self._lora.pair_key(ends[0])
                if key is not None:
                    pair = empty_pair(ends[0].shape, 1, self._lora.alpha(1), self._dtype)
                    self._add(key, pair, 0, Loss(0.0, 0.0))

    def _take_layer(self, layer: Layer, delta: Delta) -> str | None:
        """Put a layer's delta into the file, or return the reason why it is left out."""
        lora = self._lora
        whole = lora.whole_key(layer) if lora.holds_whole else None
        if isinstance(delta, Factors):
            pairs = layer.is_matrix or lora.holds_whole
            key = lora.pair_key(layer) if pairs else None
            if key is None:
                return _NO_MODULE
            self._pair(key, layer, delta, len(delta.a))
        elif whole is not None and not (layer.is_matrix and self._limit is not None):
            self._keep_whole(whole, delta.reshape(layer.shape))
        elif not layer.is_matrix:
            return _NO_VECTOR if layer.parameter == "bias" or len(layer.shape) == 1 else _NO_MODULE
        else:
            key = lora.pair_key(layer)
            if key is None:
                return _NO_MODULE
            factors, values = decomposed(delta.reshape(layer.shape[0], -1))
            self._pair(key, layer, factors, sufficient_rank(values, self._dtype))
        return None

    def _pair(self, key: str, layer: Layer, factors: Factors, stored: int) -> None:
        rank = _limited(stored, self._limit)
        alpha = self._lora.alpha(rank)
        pair, loss = make_pair(factors, rank, layer.shape, alpha, self._dtype, key)
        if self._filled is not None:
            pair = filled_pair(pair, self._filled)
        self._add(key, pair, stored, loss)

    def _add(self, key: str, pair: Pair, stored: int, loss: Loss) -> None:
        self.collected.pairs[key] = pair
        self.collected.modules.append((key, stored, loss))
        self.collected.losses.append(loss)

    def _keep_whole(self, key: str, delta: torch.Tensor) -> None:
        values = cast(delta, self._dtype, key)
        self.collected.whole[key] = values
        lost = square_norm(values.to(torch.float64) - delta)
        self.collected.losses.append(Loss(square_norm(delta), lost, rounded=lost))


def sides(shape: Shape) -> tuple[int, int]:
    """The sides of a weight as a matrix."""
    return shape[0], math.prod(shape[1:])


def _limited(rank: int, limit: int | None) -> int:
    return rank if limit is None else min(rank, limit)
