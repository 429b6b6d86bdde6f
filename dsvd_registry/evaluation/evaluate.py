"""One evaluation from its request to its results."""

from __future__ import annotations

from pathlib import Path

from ..progress import Progress, silent
from ..registry import Registry
from .columns import columns
from .extractors.judges import loaded_judges
from .measuring import measured
from .painting import circumstances, painted
from .picture_store import PictureStore
from .request import EvaluationRequest
from .results import Evaluation
from .subjects import planned_subjects
from .summary import summarised


def evaluate(
    request: EvaluationRequest,
    registry: Registry,
    pictures: Path,
    *,
    progress: Progress = silent,
) -> Evaluation:
    """Paint the pictures that are missing, and measure all of them.

    Args:
        request: what is compared, painted and measured.
        registry: the registry of the versions.
        pictures: a folder for the pictures. A run that was stopped finds its own there and goes on.
        progress: called with the stage, the number of pictures done, and of all.

    Returns:
        Every picture with its measures, and the mean of each model with its interval.

    Raises:
        NotFound: for an unknown ref.
        InvalidArgument: for a pipeline, photographs, prompts or weights that are none.
        BaseMismatch: for a pipeline that is not that of the versions' base.
        TauNotServed: for a tau that a version does not serve.
        MissingExtra: without the packages of the extra `evaluate`.

    Example:
        >>> request = EvaluationRequest(("subject-42",), Path("sd15"), token="sks", noun="dog")
        >>> found = evaluate(request, registry, Path("report/pictures"))
        >>> found.models[1].label, found.models[1].cells["ssim"].estimate.mean
        ('fine-tune', 1.0)
    """
    subjects = planned_subjects(request, registry)
    judges = loaded_judges(request.weights, request.device)
    store = PictureStore(pictures)
    plan = painted(request, subjects, store, registry, progress)
    found = measured(plan, request.seeds, store, judges, progress)
    shown = columns(judges, request.reference is not None)
    return Evaluation(
        request=request,
        circumstances=circumstances(request),
        subjects=subjects,
        columns=shown,
        models=summarised(subjects, shown, found, request.margin),
        measured=found,
    )
