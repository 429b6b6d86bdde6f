"""A fine-tune at one water level for all its tensors: within an error, or within a size."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from ..checkpoint import TensorInfo
from ..codec.encode_water_level import encode_at, survey
from ..codec.tensor_order import in_order
from ..codec.water_level import Plan, Survey, Target
from ..container.records import Encoding, Fidelity, Header, RawRecord, TensorRecord
from ..container.totals import total_error
from ..container.writer import container_size
from ..errors import InvalidArgument
from ..progress import Meter, Progress
from ..store import ObjectStore, StoredObject
from .budget_search import Row, finest_that_fits
from .container_builder import Draft, data_order, encoded, store
from .encode_tensor import Codec, PackedTensor, sides_of
from .fine_tune import FineTune
from .request import BudgetRequest, ErrorRequest
from .stored_tau import stored_tau, with_tau_rank

CAREFUL = 5e-4  # share of an error not aimed for: of a large checkpoint the model is right to less
DIGEST_ROOM = 24  # bytes that a header may grow by when its result's digest is known
HEADER_BYTES = 60  # of a record, compressed, expected at first


def store_by_error(
    fine_tune: FineTune,
    request: ErrorRequest,
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> StoredObject:
    """The least bytes that the error allows: the plan's level is lowered until it is met."""
    surveys = _surveyed(fine_tune, device, progress)
    care = CAREFUL
    aim = (1 - care) * request.max_error
    while True:
        plan = Plan(list(surveys.values()))
        targets = dict(zip(surveys, plan.within_error(aim * plan.norm), strict=True))
        levels = _Levels(targets, device, Fidelity(0.0, max_error=request.max_error))
        with encoded(fine_tune, levels.codec_of, levels.finish, objects, progress) as draft:
            error = levels.error(draft)
            if error <= request.max_error:
                return store(draft, objects, progress)
            outside = _outside(draft)
        if outside & surveys.keys():  # what the plan reckoned with for them was for nothing
            surveys = {name: found for name, found in surveys.items() if name not in outside}
            continue
        # Twice the step each time: where steps are coarse, many aims lead to one and the same error.
        care = min(2 * care, 0.5)
        aim *= (1 - care) * request.max_error / error


def store_by_budget(
    fine_tune: FineTune,
    request: BudgetRequest,
    device: str,
    objects: ObjectStore,
    progress: Progress,
) -> StoredObject:
    """The least error that fits. Raises `InvalidArgument`, with the nearest size that would."""
    surveys = _surveyed(fine_tune, device, progress)
    while True:
        plan = Plan(list(surveys.values()))
        with _Drafts(fine_tune, plan, list(surveys), request, device, objects, progress) as drafts:
            row = Row(plan.last, plan.bits, HEADER_BYTES * len(fine_tune.checkpoint.tensors))
            try:
                found = finest_that_fits(row, request.budget, drafts.measure)
            except _OutsideGridError as outside:
                # The plan reckoned with deltas of them, for nothing.
                surveys = {n: one for n, one in surveys.items() if n not in outside.names}
                continue
            if found is not None and drafts.best is not None:
                return store(drafts.best, objects, progress)
            raise InvalidArgument(
                f"{fine_tune.checkpoint.path} does not fit {request.budget} bytes against its base",
                f"The nearest budget that it fits is {drafts.least}: "
                "the least of each changed tensor.",
            )


class _OutsideGridError(Exception):
    """A plan was for deltas of tensors that the grid has no room for."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(names)
        self.names = names


class _Drafts:
    """Containers made to places of a plan; `best` is the one of the least error that fits."""

    def __init__(
        self,
        fine_tune: FineTune,
        plan: Plan,
        names: list[str],
        request: BudgetRequest,
        device: str,
        objects: ObjectStore,
        progress: Progress,
    ) -> None:
        self._fine_tune, self._plan, self._names, self._request = fine_tune, plan, names, request
        self._device, self._objects, self._progress = device, objects, progress
        self._held = contextlib.ExitStack()
        self.best: Draft | None = None
        self.least = 0  # the budget that the smallest would fit

    def __enter__(self) -> _Drafts:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def measure(self, place: int) -> int:
        """Bytes of the container. Raises `_OutsideGridError`."""
        targets = dict(zip(self._names, self._plan.targets(place), strict=True))
        levels = _Levels(targets, self._device, Fidelity(0.0, budget=self._request.budget))
        with contextlib.ExitStack() as held:
            draft = held.enter_context(
                encoded(
                    self._fine_tune, levels.codec_of, levels.finish, self._objects, self._progress
                )
            )
            if outside := _outside(draft) & targets.keys():
                raise _OutsideGridError(outside)
            size = container_size(draft.header) + DIGEST_ROOM
            least = _own_budget(draft.header)
            self.least = min(self.least or least, least)
            is_better = self.best is None or levels.error(draft) < levels.error(self.best)
            if size <= self._request.budget and is_better:
                self._held.close()
                self._held, self.best = held.pop_all(), draft
        return size


def _own_budget(header: Header) -> int:
    """The least budget of a container that says so in its header, where it compresses as it may."""
    budget = 0
    while (size := container_size(_with_budget(header, budget)) + DIGEST_ROOM) > budget:
        budget = size
    return budget


def _with_budget(header: Header, budget: int) -> Header:
    fidelity = replace(header.encoding.fidelity or Fidelity(0.0), budget=budget)
    return replace(header, encoding=replace(header.encoding, fidelity=fidelity))


def _outside(draft: Draft) -> set[str]:
    """The tensors whose deltas the grid has no room for: stored as they are, at every level."""
    records = draft.header.tensors
    return {r.name for r in records if isinstance(r, RawRecord) and r.reason == "range"}


def _surveyed(fine_tune: FineTune, device: str, progress: Progress) -> dict[str, Survey]:
    """By name, of each tensor that a delta is taken of."""
    checkpoint = fine_tune.checkpoint

    def look(info: TensorInfo) -> tuple[TensorInfo, Survey | None]:
        sides = sides_of(fine_tune, info)
        found = survey(sides.base, sides.source, device) if sides is not None else None
        checkpoint.release(info.name)
        return info, found

    surveys = {}
    meter = Meter(progress, "surveying", sum(t.nbytes for t in checkpoint.tensors.values()))
    infos = (checkpoint.tensors[name] for name in data_order(checkpoint))
    with in_order(look, infos, lambda info: info.elements) as looked_at:
        for info, found in looked_at:
            if found is not None:
                surveys[info.name] = found
            meter.advance(info.nbytes)
    return surveys


class _Levels:
    """What each tensor is encoded to, and what the header says of them all."""

    def __init__(self, targets: dict[str, Target], device: str, fidelity: Fidelity) -> None:
        self._targets, self._device, self._fidelity = targets, device, fidelity

    def codec_of(self, info: TensorInfo) -> Codec:
        target = self._targets.get(info.name, Target("raw", 1.0, 0.0, 0.0))
        return lambda base, source, size_of: encode_at(base, source, target, self._device, size_of)

    def finish(
        self, made: Mapping[str, PackedTensor]
    ) -> tuple[Encoding, Mapping[str, TensorRecord]]:
        """The largest tau that every tensor stores, and with it the records."""
        tau = stored_tau(made)
        records = {name: with_tau_rank(packed, tau) for name, packed in made.items()}
        error = total_error(records.values())
        return Encoding(tau, 0.0, replace(self._fidelity, error=error)), records

    @staticmethod
    def error(draft: Draft) -> float:
        """The relative Frobenius error of the whole delta."""
        fidelity = draft.header.encoding.fidelity
        assert fidelity is not None
        return fidelity.error
