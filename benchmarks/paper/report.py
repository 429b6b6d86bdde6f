"""The whole paper for one study: its tables as one Markdown file, and its figures beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from demo.training import RARE_WORD
from dsvd_registry import Registry, number_format
from dsvd_registry.cli.plot import write_plot
from dsvd_registry.evaluation import EvaluationRequest, ReportFolder, Settings, evaluate
from dsvd_registry.evaluation.models import NOISE
from dsvd_registry.evaluation.picture_store import PictureStore
from dsvd_registry.evaluation.report.tables import remarks, verdicts
from dsvd_registry.evaluation.results import Evaluation
from dsvd_registry.progress import Progress
from dsvd_registry.registry import Curve

from ..harness.machine import this_machine
from .figures import figure_2, figure_3, figure_4
from .picture_tables import Read, honest_columns, papers_columns
from .study import Study
from .weights_tables import TAUS, mean_factors, table_2

HIGHEST = TAUS[0]
TEXT = "paper.md"


@dataclass(frozen=True)
class Pictures:
    """The pictures to paint, and the networks that judge, by path."""

    prompts: str | None
    seeds: tuple[int, ...]
    settings: Settings
    device: str = "cpu"
    weights: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """All that the tables say: an evaluation, the curves of its subjects, and its pictures by key."""

    found: Evaluation
    curves: tuple[Curve, ...]
    read: Read


def write_paper(study: Study, out: Path, pictures: Pictures, progress: Progress) -> Drawn:
    """Write every table and figure of a study into `out`.

    A run that was stopped goes on: versions are recognised, and pictures are found.
    """
    out.mkdir(parents=True, exist_ok=True)
    place = out / "registry"
    with Registry.open(place) if place.exists() else Registry.init(place) as registry:
        if not registry.bases():
            registry.add_base("base", study.base, link=True, progress=progress)
        stored: dict[str, tuple[str, ...]] = {}
        for tau in TAUS:
            stored[f"tau {tau:g}"] = tuple(_added(study, tau, registry, progress))
        curves = [
            registry.curve(file, base="base", taus=TAUS, progress=progress)
            for file in study.subjects.values()
        ]
        write_plot(curves[0], out / "figure-1.png", replace=True)
        request = EvaluationRequest(
            refs=stored.pop(f"tau {HIGHEST:g}"),
            pipeline=study.base,
            reference=study.photos,
            prompts=pictures.prompts,
            seeds=pictures.seeds,
            taus=(HIGHEST,),
            others=stored,
            full=tuple(study.subjects.values()),
            loras={label: tuple(files.values()) for label, files in study.loras.items()},
            roundings=("int8 per channel", "int8 per tensor"),
            weights=pictures.weights,
            settings=pictures.settings,
            device=pictures.device,
        )
        report = ReportFolder(out / "report")
        report.prepare()
        found = evaluate(request, registry, report.pictures, progress=progress)
        report.write(found)
    store = PictureStore(report.pictures)
    figure_2(found, store, out / "figure-2.png")
    figure_3(found, store, out / "figure-3.png")
    figure_4(found, out / "figure-4.svg")
    drawn = Drawn(found, tuple(curves), store.get)
    (out / TEXT).write_text(tables_of(drawn), encoding="utf-8")
    return drawn


def _added(study: Study, tau: float, registry: Registry, progress: Progress) -> Iterator[str]:
    """Store each subject at a tau, in a model of its own but for the highest."""
    for name, file in study.subjects.items():
        noun = study.noun(name)
        yield registry.add(
            file,
            base="base",
            name=name if tau == HIGHEST else f"{name}-tau-{tau:g}",
            tau=tau,
            metadata={"trigger": f"{RARE_WORD} {noun}", "class": noun},
            progress=progress,
        ).ref


def tables_of(drawn: Drawn) -> str:
    """The tables as Markdown."""
    found, sizes = drawn.found, mean_factors(drawn.curves)
    names = ", ".join(subject.ref.partition("@")[0] for subject in found.subjects)
    painted = len(found.request.seeds) * len(found.subjects[0].prompts)
    return "\n".join(
        (
            "# The paper's tables, drawn again\n",
            f"{len(found.subjects)} subjects ({names}), {number_format.counted(painted, 'picture')} "
            f"of each by each model. {this_machine()}.\n",
            "## Table 1, in the paper's columns\n",
            papers_columns(found, drawn.read, sizes),
            "## Table 1, against the fine-tune's own pictures\n",
            honest_columns(found),
            f"Each tau is a version that is stored at it. `{NOISE}` is the floor of noise.\n",
            *(f"- {sentence}" for sentence in (*verdicts(found), *remarks(found))),
            "\n## Table 2, with the time embedding\n",
            table_2(drawn.curves),
        )
    )
