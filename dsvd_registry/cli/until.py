"""The options of `dsvd add` that choose tau by pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import number_format
from ..encoding.request import DEFAULT_GRID_NOISE
from ..errors import InvalidArgument
from ..registry import Progress, Registry
from ..registry.describing.taken_in import TRIGGER
from .seeds import Seeds
from .tables import figure, print_table, text

if TYPE_CHECKING:
    from ..evaluation.until import FoundTau

Command = TypeVar("Command", bound=Callable[..., object])

OPTIONS = (
    click.option(
        "--until",
        metavar="GOAL",
        help="Instead of tau: the fewest bytes whose pictures surely reach this, such as 'ssim>=0.95';"
        " cosine and share are known, too. Needs --pipeline and --trigger.",
    ),
    click.option(
        "--pipeline",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="With --until: the pipeline of the base, as diffusers saves it.",
    ),
    click.option(
        "--prompts",
        metavar="dreambooth|FILE",
        help="With --until: DreamBooth's prompts, or a file with one in each line, {} for the subject."
        "  [default: three]",
    ),
    click.option("--seeds", type=Seeds(), help="With --until: the seeds to paint.  [default: 0-3]"),
    click.option(
        "--reference",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="With --until: photographs of the subject, for share.",
    ),
    click.option(
        "--steps", type=click.IntRange(min=1), help="With --until: steps of each picture."
    ),
    click.option("--guidance", type=float, help="With --until: the guidance scale."),
    click.option(
        "--size", "side", type=click.IntRange(min=16), help="With --until: pixels of a side."
    ),
)
NAMES = ("until", "pipeline", "prompts", "seeds", "reference", "steps", "guidance", "side")


def until_options(command: Command) -> Command:
    """The options, as a decorator of a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check_alone(settings: dict[str, Any]) -> None:
    """Raise `InvalidArgument` for options of --until without it, or with another choice of tau."""
    if settings["until"] is None:
        for name in NAMES:
            if settings[name] is not None:
                option = {"side": "size"}.get(name, name)
                raise InvalidArgument(
                    f"--{option} belongs to --until", "Leave it out, or give --until 'ssim>=0.95'."
                )
        return
    for name in ("tau", "max_error", "budget"):
        if settings[name] is not None:
            raise InvalidArgument(
                f"both --until and --{name.replace('_', '-')} are given", "Give one of them."
            )
    if settings["pipeline"] is None:
        raise InvalidArgument(
            "--until needs a pipeline that paints",
            "Give --pipeline with the folder of the base, as diffusers saves it.",
        )


def tau_by_pictures(
    file: Path, base: str, settings: dict[str, Any], registry: Registry, progress: Progress
) -> FoundTau | None:
    """The tau that --until asks for; None without it. Takes its options out of `settings`."""
    check_alone(settings)
    own = {name: settings.pop(name) for name in NAMES}
    if own["until"] is None:
        return None
    from ..evaluation import Settings, UntilRequest, goal_of, tau_until

    noise = settings["grid_noise"]
    request = UntilRequest(
        goal=goal_of(own["until"]),
        source=file,
        base=registry.base(base),
        pipeline=own["pipeline"],
        words=settings["metadata"].get(TRIGGER, ""),
        prompts=own["prompts"],
        seeds=own["seeds"] or (0, 1, 2, 3),
        settings=Settings(own["steps"], own["guidance"], own["side"]),
        device=settings["device"],
        reference=own["reference"],
        grid_noise=DEFAULT_GRID_NOISE if noise is None else noise,
        keep_noise=settings["keep_noise"],
        weights=settings["weights"],
        keep_extras=settings["keep_extras"],
    )
    return tau_until(request, registry, progress=progress)


def print_attempts(found: FoundTau, goal: str) -> None:
    """Print the taus that were tried, ascending."""
    rows = [
        [
            f"{attempt.tau:g}",
            number_format.size(attempt.size),
            f"{attempt.estimate.mean:.4f}",
            f"{attempt.estimate.low:.4f}",
            "read from a higher tau" if attempt.is_prefix else "as stored",
        ]
        for attempt in sorted(found.attempts, key=lambda one: (one.tau, not one.is_prefix))
    ]
    measure = goal.partition(">")[0].strip()
    print_table([figure("tau"), figure("bytes"), figure(measure), figure("surely"), text("")], rows)
