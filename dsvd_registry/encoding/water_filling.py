"""Storing of a fine-tune by water-filling: one water level for all tensors, by error or by size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeAlias

from ..checkpoint import TensorInfo
from ..codec.encode_water_level import encode_at, survey
from ..codec.kept_spectrum import KeptSpectrum
from ..codec.tensor_order import in_order
from ..codec.water_level import Plan, Survey, Target
from ..container.records import Encoding, Header, RawRecord, TensorRecord
from ..container.totals import total_error
from ..container.writer import container_size
from ..errors import InvalidArgument
from ..progress import Meter, Progress
from ..store import ObjectStore
from .budget_search import PlanSeries, finest_that_fits
from .container_builder import Draft, StoredContainer, data_order, encoded, store
from .encode_tensor import Codec, PackedTensor, sides_of, stored_tau, with_tau_rank
from .fine_tune import FineTune
from .request import BudgetRequest, ErrorRequest

CAREFUL = 5e-4  # share of the error left as a margin: for large checkpoints the model errs by less
FAR = 0.995  # of the error: below it, bytes are spent that nobody asked for
DIGEST_ROOM = 64  # bytes that a header may grow by once the digest of its result is known
KEPT_BYTES = 1 << 28  # of spectra, from the survey to the encoding; others are computed twice
USUAL_ERROR = 0.3  # of a container whose size is asked for; a larger one needs further spectra
HEADER_BYTES = 60  # expected size of a record in the compressed header


DraftAt: TypeAlias = "Callable[[Levels], AbstractContextManager[Draft]]"


def store_by_error(
    fine_tune: FineTune,
    request: ErrorRequest,
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> StoredContainer:
    """Store with the fewest bytes that the error allows, by lowering the level until it is met."""
    surveys, spectra = _surveyed(fine_tune, device, request.max_error, progress)

    draft_at = _drafts_of(fine_tune, spectra, device, objects, progress)
    return store_within(request.max_error, surveys, draft_at, objects, progress)


def store_within(
    max_error: float,
    surveys: Mapping[str, Survey],
    draft_at: DraftAt,
    objects: ObjectStore,
    progress: Progress,
) -> StoredContainer:
    """Store the first draft whose error is small enough; `draft_at` makes one at given levels.

    If the plan has promised too little, so that a draft stays far below the error, one is made with
    more.
    """
    aim = _Aim(max_error)
    while True:
        plan = Plan(list(surveys.values()))
        targets = dict(zip(surveys, plan.within_error(aim.error * plan.norm), strict=True))
        levels = Levels(targets, max_error=max_error)
        with draft_at(levels) as draft:
            error = _error(draft)
            if not surveys or aim.is_met(error):
                return store(draft, objects, progress)
            outside = _outside(draft) & surveys.keys()
        if outside:  # the plan expected deltas of tensors that cannot have any
            surveys = {name: s for name, s in surveys.items() if name not in outside}
        else:
            aim.move(error)


class _Aim:
    """The error that a plan is made for, moved until the draft made by it has the error asked for."""

    def __init__(self, max_error: float) -> None:
        self._max_error, self._care, self._may_raise = max_error, CAREFUL, True
        self.error = (1 - CAREFUL) * max_error

    def is_met(self, error: float) -> bool:
        """True if a draft of this error is within the one asked for, and not far below it."""
        return error <= self._max_error and not self._is_far(error)

    def move(self, error: float) -> None:
        """Raise the aim, once, after a draft far below the error; lower it after one above."""
        if self._is_far(error):
            self._may_raise = False
            known = max(error, 0.5 * self._max_error)
        else:
            # The margin doubles each time: where steps are coarse, many aims lead to the same error.
            self._care = min(2 * self._care, 0.5)
            known = error
        self.error *= (1 - self._care) * self._max_error / known

    def _is_far(self, error: float) -> bool:
        return self._may_raise and error < FAR * self._max_error


def store_by_budget(
    fine_tune: FineTune,
    request: BudgetRequest,
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> StoredContainer:
    """Store with the least error that fits into the budget.

    Raises `InvalidArgument`, which names the smallest budget that fits.
    """
    surveys, spectra = _surveyed(fine_tune, device, USUAL_ERROR, progress)

    draft_at = _drafts_of(fine_tune, spectra, device, objects, progress)
    while True:
        plan = Plan(list(surveys.values()))
        with _Drafts(plan, list(surveys), request, draft_at) as drafts:
            overhead = HEADER_BYTES * len(fine_tune.checkpoint.tensors)
            plans = PlanSeries(plan.last, plan.bits, overhead)
            try:
                finest = finest_that_fits(plans, request.budget, drafts.measure)
            except _OutsideGridError as outside:
                # The plan expected deltas of tensors that cannot have any.
                surveys = {name: s for name, s in surveys.items() if name not in outside.names}
                continue
            if finest is not None and drafts.best is not None:
                return store(drafts.best, objects, progress)
            raise InvalidArgument(
                f"{fine_tune.checkpoint.path} does not fit {request.budget} bytes against its base",
                f"The smallest budget that fits is {drafts.least}, with the least of "
                "each changed tensor.",
            )


class _OutsideGridError(Exception):
    """A plan expected deltas of tensors whose deltas are outside the range of the grid."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(names)
        self.names = names


class _Drafts:
    """Containers made by the plans; `best` has the least error of those that fit."""

    def __init__(
        self,
        plan: Plan,
        names: list[str],
        request: BudgetRequest,
        draft_at: DraftAt,
    ) -> None:
        self._plan, self._names, self._request, self._draft_at = plan, names, request, draft_at
        self._kept = contextlib.ExitStack()  # keeps the payload of `best` open
        self.best: Draft | None = None
        self.least = 0  # the budget that the smallest would fit

    def __enter__(self) -> _Drafts:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def measure(self, place: int) -> int:
        """Carry out plan number `place` and return its bytes. Raises `_OutsideGridError`."""
        targets = dict(zip(self._names, self._plan.targets(place), strict=True))
        with contextlib.ExitStack() as opened:
            levels = Levels(targets, budget=self._request.budget)
            draft = opened.enter_context(self._draft_at(levels))
            if outside := _outside(draft) & targets.keys():
                raise _OutsideGridError(outside)
            size = container_size(draft.header) + DIGEST_ROOM
            least = _own_budget(draft.header)
            self.least = min(self.least or least, least)
            is_better = self.best is None or _error(draft) < _error(self.best)
            if size <= self._request.budget and is_better:
                self._kept.close()
                self._kept, self.best = opened.pop_all(), draft
        return size


def _own_budget(header: Header) -> int:
    """The least budget of a container that says so in its header, where it compresses as it may."""
    budget = 0
    while (size := container_size(_with_budget(header, budget)) + DIGEST_ROOM) > budget:
        budget = size
    return budget


def _with_budget(header: Header, budget: int) -> Header:
    return replace(header, encoding=replace(header.encoding, budget=budget))


def _error(draft: Draft) -> float:
    """The relative Frobenius error of the whole delta."""
    return total_error(draft.header.tensors)


def _outside(draft: Draft) -> set[str]:
    """The tensors that are raw at every level, because their deltas are outside the grid's range."""
    records = draft.header.tensors
    return {r.name for r in records if isinstance(r, RawRecord) and r.reason == "range"}


def _surveyed(
    fine_tune: FineTune, device: str, likely_error: float, progress: Progress
) -> tuple[dict[str, Survey], Mapping[str, KeptSpectrum]]:
    """The surveys by name of all tensors of which a delta is taken, and spectra for their encoding.

    Spectra are kept in the order of the tensors, so that their number does not depend on threads.
    """
    checkpoint = fine_tune.checkpoint

    def surveyed(info: TensorInfo) -> tuple[TensorInfo, tuple[Survey, KeptSpectrum | None] | None]:
        sides = sides_of(fine_tune, info)
        found = survey(sides.base, sides.source, device, likely_error) if sides else None
        checkpoint.release(info.name)
        return info, found

    surveys, spectra, room = {}, {}, KEPT_BYTES
    meter = Meter(progress, "surveying", sum(t.nbytes for t in checkpoint.tensors.values()))
    infos = (checkpoint.tensors[name] for name in data_order(checkpoint))
    with in_order(surveyed, infos, lambda info: info.elements) as results:
        for info, found in results:
            if found is not None:
                surveys[info.name], svd = found
                if svd is not None and svd.nbytes <= room:
                    spectra[info.name] = svd
                    room -= svd.nbytes
            meter.advance(info.nbytes)
    return surveys, spectra


def _drafts_of(
    fine_tune: FineTune,
    spectra: Mapping[str, KeptSpectrum],
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> DraftAt:
    """A function that encodes a fine-tune at given levels."""

    def draft_at(levels: Levels) -> AbstractContextManager[Draft]:
        codec_of = _codec_of(levels, spectra, device)
        return encoded(fine_tune, codec_of, levels.finish, objects, progress)

    return draft_at


def _codec_of(
    levels: Levels, spectra: Mapping[str, KeptSpectrum], device: str
) -> Callable[[TensorInfo], Codec]:
    def codec_of(info: TensorInfo) -> Codec:
        target, known = levels.target(info.name), spectra.get(info.name)
        return lambda base, source, size_of: encode_at(base, source, target, device, size_of, known)

    return codec_of


class Levels:
    """The targets of all tensors, and the header's fields that follow from the results."""

    def __init__(
        self,
        targets: dict[str, Target],
        *,
        max_error: float | None = None,
        budget: int | None = None,
    ) -> None:
        self._targets = targets
        self._max_error, self._budget = max_error, budget

    def target(self, name: str) -> Target:
        """The target of a tensor; raw for one that the plan does not have."""
        return self._targets.get(name, Target("raw", 1.0, 0.0, 0.0))

    def finish(
        self, tensors: Mapping[str, PackedTensor]
    ) -> tuple[Encoding, Mapping[str, TensorRecord]]:
        """The header's encoding, with the largest tau that every tensor can serve, and all records."""
        tau = stored_tau(tensors)
        records = {name: with_tau_rank(packed, tau) for name, packed in tensors.items()}
        return Encoding(tau, 0.0, self._max_error, self._budget), records
