"""`dsvd add`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..encoding.request import DEFAULT_GRID_NOISE, DEFAULT_TAU
from ..errors import InvalidArgument
from ..registry import AddedMany, StoppedMany
from ..registry.input_files import is_one_checkpoint
from .account import print_account, warn
from .add_summary import many_document, print_many, print_plan, warn_of_many
from .base_matches import print_match
from .documents import print_document, version_document
from .errors import INTERRUPTED
from .options import common_options, open_registry
from .path_list import read_path_list
from .progress import shown_progress
from .sizes import SIZE
from .tables import print_line
from .versions import print_lossless


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "list_file",
    metavar="LIST",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A text file with the path of a FILE on each line, or - for the standard input.",
)
@click.option(
    "--base",
    metavar="NAME",
    help="The base that FILE is a fine-tune of.  [default: the one that fits best, if that is sure]",
)
@click.option("--name", help="The model to add a version to. Default: made from FILE's name.")
@click.option(
    "--name-from",
    metavar="WHERE",
    help="Make names of models from: parent, stem, or a pattern such as {parent}-{stem}."
    "  [default: the stem; of one that says nothing, such as pytorch_lora_weights, the parent]",
)
@click.option(
    "--tau",
    type=float,
    help="Share of each layer's change to keep, above 0 and up to 1."
    f"  [default: {DEFAULT_TAU}; of a LoRA file 1]",
)
@click.option(
    "--max-error",
    type=float,
    help="Instead of tau: the least bytes at this relative error of the whole change, below 1.",
)
@click.option(
    "--budget",
    type=SIZE,
    help="Instead of tau: the least error in this many bytes, such as 20MB.",
)
@click.option(
    "--grid-noise",
    type=float,
    help=f"How much the integer grid may add to the error of tau.  [default: {DEFAULT_GRID_NOISE}]",
)
@click.option(
    "--keep-noise",
    is_flag=True,
    help="Store tau's ranks also where they hold only the rounding of half-precision weights.",
)
@click.option(
    "--lossless",
    is_flag=True,
    help="Keep all of FILE: it comes back to the bit. Ranks are those that take the least in all,"
    " unless a fidelity is given too.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="The torch device that finds the spectra, such as cuda.",
)
@click.option(
    "--skip-unsupported",
    is_flag=True,
    help="Of a LoRA file leave out, and list, what cannot be merged into weights.",
)
@click.option(
    "--weights",
    metavar="ENTRY",
    help="The entry of a torch file whose tensors are meant, such as ema, where it has several.",
)
@click.option(
    "--keep-extras",
    is_flag=True,
    help="Of a folder keep, as files, what is none of its model's: other weights, exports, the state"
    " of a training.",
)
@click.option("--note", default="", metavar="TEXT", help="A note to keep with the version.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be given again.")
@common_options
@click.pass_context
def add(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    list_file: Path | None,
    base: str | None,
    name: str | None,
    name_from: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Store fine-tuned checkpoints as deltas against their base.

    FILE is a safetensors file or a .ckpt, .pt or .bin of torch; no code from it is run. The same
    file, base and settings again are recognised, and nothing is computed. A LoRA file (kohya, PEFT,
    diffusers) stands for the base with it merged in, and is stored whole unless --tau says less.

    A folder of diffusers, or one sub-model's, is a FILE too, and so is what accelerate saved of a
    training; weights in it that are none of the model's are left out, and read_path_list.

    With --lossless a version that is there already, made of the same file, is made lossless.

    Several FILEs, or a folder of them, become a model each, named after their files: in ASCII, no two
    alike. One that is refused does not stop the others: the summary says why, and the exit code is 0
    if every file is in, otherwise that of the first refusal. The same command again goes on after a
    stop.

    Without --base, each FILE is compared with the bases by names, shapes and a sample of weights.
    """
    if list_file is None and len(files) == 1 and is_one_checkpoint(files[0]):
        settings["name_from"] = name_from
        _add_one(files[0], base, name, settings, as_json=as_json)
        return
    if name is not None:
        raise InvalidArgument(
            "--name is given, and not one file alone",
            "Leave it out, or say with --name-from where names come from.",
        )
    paths = (*files, *(() if list_file is None else read_path_list(list_file)))
    try:
        with open_registry() as registry, shown_progress() as progress:
            found = registry.add_many(
                paths,
                base=base,
                name_from=name_from,
                progress=progress,
                planned=print_plan,
                **settings,
            )
    except StoppedMany as stopped:
        _print_outcome(stopped.found, INTERRUPTED, as_json=as_json)
        raise
    _print_outcome(found, found.exit_code, as_json=as_json)
    ctx.exit(found.exit_code)


def _print_outcome(found: AddedMany, exit_code: int, *, as_json: bool) -> None:
    warn_of_many(found)
    if as_json:
        print_document(many_document(found, exit_code))
    else:
        print_many(found)


def _add_one(
    file: Path, base: str | None, name: str | None, settings: dict[str, Any], *, as_json: bool
) -> None:
    match = None
    with open_registry() as registry, shown_progress() as progress:
        if base is None:
            match = registry.best_base(file, weights=settings["weights"])
            base = match.sure()
        addition = registry.add(file, base=base, name=name, progress=progress, **settings)
        report = registry.report(addition.ref)
    warn(report)
    if as_json:
        found = {"created": addition.created, "upgraded": addition.upgraded, "report": report}
        how = {} if match is None else {"match": match}
        print_document(version_document(addition.version) | found | how)
        return
    if match is not None:
        print_match(match)
    if addition.created:
        print_line(f"added {addition.ref}")
    elif addition.upgraded:
        print_line(f"{addition.ref} was there already, and is lossless now")
    else:
        print_line(f"{addition.ref} was there already: the same file, base and settings")
    print_lossless(addition.version)
    print_account(report)
