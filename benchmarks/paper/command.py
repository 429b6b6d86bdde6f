"""Draw the Delta-SVD paper's tables and figures again: `python -m benchmarks paper DIR`.

DIR has `base` (a pipeline of diffusers), `subjects/NAME.safetensors`, `photos/NAME/`, and may have
`lora/LABEL/NAME.safetensors`; --train makes subjects and LoRAs from base and photos. --small trains a
model of nine million parameters instead. --claims checks what needs no training. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from dsvd_registry import DsvdError
from dsvd_registry.cli.seeds import Seeds
from dsvd_registry.evaluation import Settings

from ..harness.progress import say
from ..subjects.cache import default_folder
from .claims import claims
from .folds import joined, names_of_folds
from .forecast import forecast, training_steps
from .photographs import subjects_in
from .report import TEXT, Pictures, tables_of, write_paper
from .small_study import SMALL, SmallRecipe, small_study
from .study import open_study
from .train_study import FULL_SIZE, Recipe, train_study, with_steps

SECONDS_BETWEEN_LINES = 30
PLAIN = "a photo of {}\n"


def main(words: Sequence[str], small: SmallRecipe = SMALL, full_size: Recipe = FULL_SIZE) -> int:
    """Run the command; 0 if every step did. `small`, `full_size`: the recipes of trainings."""
    parser = _parser()
    options = parser.parse_args(words)
    if (options.folder is not None) + options.small + options.claims != 1:
        parser.error("give one of DIR, --small and --claims")
    if options.folds is not None and (not options.small or options.folds < 2):
        parser.error("--folds takes 2 or more, with --small")
    try:
        if options.claims:
            print(claims(subjects_in(options.photos)))
            return 0
        print(_paper(options, small, full_size))
    except DsvdError as error:
        print(f"error: {error}\n{error.hint}", file=sys.stderr)
        return 1
    return 0


def _paper(options: argparse.Namespace, small: SmallRecipe, full_size: Recipe) -> str:
    progress = _teller()
    if options.folds:
        return _folds(options, small, progress)
    folder = options.folder
    if options.small:
        folder = small_study(_cache(), options.photos, options.autoencoder, small, progress)
    elif options.train:
        if options.device == "cpu" and not options.train_steps:
            say("training without a GPU takes days; --train-steps shortens it")
        recipe = with_steps(full_size, options.train_steps)
        train_study(folder, recipe, options.device, progress)
    pictures = _pictures(options, range(100, 112) if options.small else range(4))
    write_paper(open_study(folder), options.out, pictures, progress)
    return (options.out / TEXT).read_text(encoding="utf-8")


def _folds(
    options: argparse.Namespace, small: SmallRecipe, progress: Callable[[str, int, int], None]
) -> str:
    """The small study of each fold, and the tables of all of them as one."""
    groups = names_of_folds(subjects_in(options.photos), options.folds)
    count = sum(map(len, groups))
    steps = training_steps(small, len(groups), count)
    say(f"{len(groups)} bases and {count} subjects: {steps:,} steps of training, then the pictures")
    told = forecast(steps, progress)
    pictures = _pictures(options, range(100, 106))
    drawn = []
    for number, names in enumerate(groups, 1):
        folder = small_study(_cache(), options.photos, options.autoencoder, small, told, names)
        out = options.out / f"fold-{number}"
        drawn.append(write_paper(open_study(folder), out, pictures, told))
    text = tables_of(joined(drawn))
    (options.out / TEXT).write_text(text, encoding="utf-8")
    return text


def _cache() -> Path:
    cache = default_folder()
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _pictures(options: argparse.Namespace, seeds: Iterable[int]) -> Pictures:
    """The pictures that are asked for; those of the small study have one prompt, and no guidance."""
    prompts, settings = options.prompts, Settings(options.steps, options.guidance, options.size)
    if options.small:
        if prompts is None:
            options.out.mkdir(parents=True, exist_ok=True)
            file = options.out / "prompts.txt"
            file.write_text(PLAIN, encoding="utf-8")
            prompts = str(file)
        settings = Settings(options.steps or 20, options.guidance or 1.0, options.size)
    return Pictures(
        prompts or "dreambooth",
        options.seeds or tuple(seeds),
        settings,
        options.device,
        dict(_named(one) for one in options.weights),
    )


def _teller() -> Callable[[str, int, int], None]:
    """A callback that says now and then how far the work is."""
    last = time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"  {stage}: {done} of {total}")

    return tell


def _named(one: str) -> tuple[str, Path]:
    name, _, path = one.partition("=")
    return name, Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--small", action="store_true", help="a small model, trained here")
    parser.add_argument(
        "--folds", type=int, help="with --small: hold out every subject once, in this many studies"
    )
    parser.add_argument("--claims", action="store_true", help="what needs no training")
    parser.add_argument(
        "--photos", type=Path, help="folders of photographs by subject, with --small and --claims"
    )
    parser.add_argument(
        "--autoencoder", type=Path, help="the folder of TAEF2's files, with --small"
    )
    parser.add_argument("--train", action="store_true", help="train what DIR lacks")
    parser.add_argument("--train-steps", type=int, help="steps of each training")
    parser.add_argument("--out", type=Path, default=Path("paper"), help="(%(default)s)")
    parser.add_argument("--prompts", help="dreambooth, or a file with one prompt in each line")
    parser.add_argument("--seeds", type=_seeds, help="such as 0-3")
    parser.add_argument("--steps", type=int, help="steps of each picture")
    parser.add_argument("--guidance", type=float, help="the guidance scale")
    parser.add_argument("--size", type=int, help="pixels of a side")
    parser.add_argument("--device", default=cuda, help="the torch device (%(default)s)")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="as `dsvd evaluate` has it",
    )
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    return Seeds().convert(text, None, None)
