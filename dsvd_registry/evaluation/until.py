"""The choice of tau by pictures: the fewest bytes whose pictures reach what was asked for.

The fine-tune is encoded once at a high tau, and pictures are painted with prefixes of that container,
by bisection. A tensor that a high tau stores dense is better in a prefix than in a container of the
low tau; so what was found is encoded and painted as it would be stored, and if that does not do, the
taus above are tried as they would be stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..encoding.request import TauRequest
from ..errors import InvalidArgument
from ..progress import Progress, silent
from ..registry import Registry
from .bisection import least_passing
from .bootstrap import Estimate
from .columns import Column
from .drafts import Drafts, TauDraft, drafts_folder
from .extractors.judges import Judges, loaded_judges
from .measuring import measured
from .models import (
    BASE,
    FINE_TUNE,
    DraftWeights,
    Model,
    PipelineWeights,
    SourceWeights,
    Subject,
    source_identity,
)
from .painting import PICTURES, Painter
from .picture_store import PictureStore
from .request import MARGIN
from .summary import summarised
from .until_request import UntilRequest

GRID = tuple(number / 100 for number in range(1, 100))
"""The taus that are tried."""

PREFIXES = 0.8
"""The tau whose container serves the lower ones; above it much is stored dense."""

TRIED = "tried"


@dataclass(frozen=True)
class Attempt:
    """A tau that was tried: the bytes, and the measure with its interval.

    `is_prefix`: painted with a prefix of a container of a higher tau, and not as it would be stored.
    """

    tau: float
    size: int
    is_prefix: bool
    estimate: Estimate


@dataclass(frozen=True)
class FoundTau:
    """The tau to store, and all attempts, in their order. The last one at this tau is as stored."""

    tau: float
    attempts: tuple[Attempt, ...]


def tau_until(
    request: UntilRequest, registry: Registry, *, progress: Progress = silent
) -> FoundTau:
    """Find the least tau in steps of 0.01 whose stored pictures surely reach the goal.

    Surely: the lower end of the measure's bootstrap interval reaches it. Nothing is added to the
    registry. Needs free space of about two containers beside it.

    Args:
        request: the fine-tune, the goal, and what is painted.
        registry: the registry of the base.
        progress: called with the stage, the number done, and of all.

    Raises:
        InvalidArgument: if not even a tau of 0.99 reaches the goal, and for a pipeline, prompts or
            photographs that are none.
        BaseMismatch: for a pipeline that is not that of the base.
        CheckpointError: for a file that is no fine-tune.

    Example:
        >>> request = UntilRequest(
        ...     goal_of("ssim>=0.95"), file, registry.base("sd15"), Path("sd15"), "sks dog"
        ... )
        >>> tau_until(request, registry).tau
        0.37
    """
    judges = Judges((), {})
    if request.goal.needs_features:
        judges = loaded_judges(request.extractors, request.device)
    column = request.goal.column(judges)
    judges = judges.only(column.extractor)  # no other one decides
    with drafts_folder(registry) as folder:
        drafts = Drafts(
            folder,
            request.source,
            request.base,
            request.device,
            request.weights,
            request.keep_extras,
            registry,
            progress,
        )
        store = PictureStore(folder / "pictures")
        with Painter(request, store, registry, request.base) as painter:
            return _Search(request, drafts, painter, store, judges, column, progress).found()


class _Search:
    """The search of one fine-tune's tau; it remembers what was tried."""

    def __init__(
        self,
        request: UntilRequest,
        drafts: Drafts,
        painter: Painter,
        store: PictureStore,
        judges: Judges,
        column: Column,
        progress: Progress,
    ) -> None:
        self._request, self._drafts, self._painter = request, drafts, painter
        self._store, self._judges, self._column = store, judges, column
        self._progress = progress
        self._attempts: list[Attempt] = []

    def found(self) -> FoundTau:
        prefixes = self._encoded(PREFIXES)
        lower = [tau for tau in GRID if tau <= PREFIXES]
        tau = least_passing(lower, lambda tau: self._passes(prefixes, tau))
        if tau is None or (tau != PREFIXES and not self._passes_as_stored(tau)):
            failing = PREFIXES if tau is None else tau
            higher = [tau for tau in GRID if tau > failing]
            tau = least_passing(higher, self._passes_as_stored)
        if tau is None:
            raise self._unreachable()
        return FoundTau(tau, tuple(self._attempts))

    def _encoded(self, tau: float) -> TauDraft:
        request = self._request
        return self._drafts.encoded(TauRequest(tau, request.grid_noise, request.keep_noise))

    def _passes_as_stored(self, tau: float) -> bool:
        return self._passes(self._encoded(tau), tau)

    def _passes(self, draft: TauDraft, tau: float) -> bool:
        estimate = self._measured(draft, tau)
        size = self._drafts.size(draft, tau)
        self._attempts.append(Attempt(tau, size, tau != draft.tau, estimate))
        self._progress(TRIED, len(self._attempts), len(self._attempts) + 1)
        return estimate.low is not None and estimate.low >= self._request.goal.least

    def _measured(self, draft: TauDraft, tau: float) -> Estimate:
        subject = self._subject(draft, tau)
        plan = self._painter.planned(subject)
        total, done = sum(len(row) for one in plan for row in one.keys), 0
        for one in plan:
            for more in self._painter.paint(one):
                done += more
                self._progress(PICTURES, done, total)
        seeds = self._request.seeds
        found = measured([plan], seeds, self._store, self._judges, silent)
        cell = summarised([subject], [self._column], found, MARGIN)[-1].cells[self._column.key]
        estimate = cell.share if self._request.goal.needs_photographs else cell.estimate
        if estimate is None:
            raise InvalidArgument(
                f"there is no share to keep: by {self._column.extractor} the fine-tune's own pictures "
                "are not surely more like the photographs than the base's",
                "Give more seeds or prompts, or ask for ssim.",
            )
        return estimate

    def _subject(self, draft: TauDraft, tau: float) -> Subject:
        request, base = self._request, self._request.base
        photographs = request.reference if request.goal.needs_photographs else None
        found = [
            Model(
                FINE_TUNE,
                SourceWeights(request.source, entry=request.weights),
                source_identity(draft.source, request.weights),
                0,
            ),
            Model(
                f"tau {tau:g}",
                DraftWeights(draft.file, base, tau),
                {"base": base.digest, "container": draft.sha256, "tau": tau},
                0,
                tau,
            ),
        ]
        if request.goal.needs_photographs:
            found.insert(0, Model(BASE, PipelineWeights(), {"base": base.digest}, 0))
        every = request.subject_prompts
        return Subject(
            str(request.source),
            request.words,
            request.noun,
            every,
            every,
            photographs,
            tuple(found),
        )

    def _unreachable(self) -> InvalidArgument:
        best = max(self._attempts, key=lambda attempt: attempt.tau)
        estimate = best.estimate
        return InvalidArgument(
            f"no tau reaches {self._request.goal}: at tau {best.tau:g} it is {estimate.mean:.6g}, "
            f"surely only {estimate.low:.6g}",
            "Ask for less, give more seeds or prompts, which narrow the interval, or use --lossless.",
        )
