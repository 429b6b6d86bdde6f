"""The command `dsvd add`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..encoding.request import DEFAULT_GRID_NOISE, DEFAULT_TAU
from ..errors import InvalidArgument
from ..registry import AddedMany, StoppedMany
from ..registry.adding.input_files import is_one_checkpoint
from ..registry.describing.taken_in import TRIGGER
from .account import print_account, warn
from .add_summary import many_document, print_many, print_plan, warn_of_many
from .attachments import print_taken_in
from .base_matches import print_match
from .documents import plain, print_document, version_document
from .errors import INTERRUPTED
from .executors import executor_of
from .meta import parsed_entries
from .options import common_options, open_registry
from .path_list import read_path_list
from .progress import shown_progress
from .sizes import SIZE
from .tables import print_line
from .until import NAMES as UNTIL_NAMES
from .until import check_alone, print_attempts, tau_by_pictures, until_options
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
    help="The base that FILE is a fine-tune of.  [default: the best match, if it is sure]",
)
@click.option("--name", help="The model to add a version to.  [default: made from FILE's name]")
@click.option(
    "--name-from",
    metavar="WHERE",
    help="Make the names of models from: parent, stem, or a pattern such as {parent}-{stem}."
    "  [default: the stem; for a generic one, such as pytorch_lora_weights, the parent]",
)
@click.option(
    "--tau",
    type=float,
    help="Share of each layer's change to keep, above 0 and up to 1."
    f"  [default: {DEFAULT_TAU}; for a LoRA file 1]",
)
@click.option(
    "--max-error",
    type=float,
    help="Instead of tau: the fewest bytes at this relative error of the whole change, below 1.",
)
@click.option(
    "--budget",
    type=SIZE,
    help="Instead of tau: the least error in this many bytes, such as 20MB.",
)
@until_options
@click.option(
    "--grid-noise",
    type=float,
    help="Share that the integer grid may add to the error of tau."
    f"  [default: {DEFAULT_GRID_NOISE}]",
)
@click.option(
    "--keep-noise",
    is_flag=True,
    help="Store the tau ranks even where they contain only the rounding noise of half precision.",
)
@click.option(
    "--lossless",
    is_flag=True,
    help="Store a residual too, so that FILE comes back to the bit. The ranks are chosen for the"
    " fewest bytes in all, unless tau, an error or a budget is given too. A LoRA file itself is kept.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="The torch device that computes singular values, such as cuda.",
)
@click.option(
    "--skip-unsupported",
    is_flag=True,
    help="Leave out, and list, the layers of a LoRA file that cannot be merged into weights.",
)
@click.option(
    "--weights",
    metavar="ENTRY",
    help="The entry to use of a torch file that has several, such as ema.",
)
@click.option(
    "--keep-extras",
    is_flag=True,
    help="Keep the files of a folder that do not belong to its model: other weights, exports, the"
    " state of a training.",
)
@click.option("--note", default="", metavar="TEXT", help="A note on the version.")
@click.option("--trigger", metavar="WORDS", help="The words that make the subject appear.")
@click.option(
    "--meta",
    "entries",
    multiple=True,
    metavar="KEY=VALUE",
    help="A key of the version's metadata; may be repeated.",
)
@click.option(
    "--preview",
    type=click.Path(path_type=Path),
    metavar="PICTURE",
    help="A picture of what the version makes, its preview.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be repeated.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Encode in N processes of this machine, which share its cores.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Encode on the Ray cluster at this address, such as auto or 10.0.0.5:6379. Its nodes must find"
    " the registry and the files at the same paths.",
)
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
    trigger: str | None,
    entries: tuple[str, ...],
    workers: int | None,
    ray: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Store fine-tuned checkpoints as deltas against their base.

    FILE is a safetensors file, or a .ckpt, .pt or .bin file of torch; no code from it is run. The same
    file with the same base and settings is recognised, and nothing is computed. A LoRA file (kohya,
    PEFT, diffusers) is stored as the base with the LoRA merged in, in full unless --tau is given.

    FILE may also be a folder of diffusers, the folder of one sub-model, or a checkpoint folder of
    accelerate. Weights in it that do not belong to the model are left out, and listed.

    With --until, pictures decide: several taus are tried, none is stored but the one that is found.

    With --lossless, an existing version of the same file is made lossless.

    Several FILEs, or a folder of them, become one model each, with unique ASCII names made from the
    names of the files. A refused file does not stop the others: the summary says why it was refused.
    The exit code is 0 if no file was refused, otherwise that of the first refusal. The same command
    after an interrupt continues the work. --workers and --ray encode many files at a time; a file whose
    worker dies is tried again twice.

    Metadata of FILE (ss_*, modelspec.*, ssmd_*, dsvd.*), and files of tools beside it, such as a
    .preview.png or a .civitai.info, are taken in and listed.

    Without --base, each FILE is compared with the bases by names, shapes and a sample of weights.
    """
    settings["metadata"] = parsed_entries(entries) | ({} if trigger is None else {TRIGGER: trigger})
    is_spread = workers is not None or ray is not None
    is_one = list_file is None and len(files) == 1 and is_one_checkpoint(files[0])
    if is_one and not is_spread:
        settings["name_from"] = name_from
        _add_one(files[0], base, name, settings, as_json=as_json)
        return
    if name is not None:
        raise InvalidArgument(
            "--name is for a single file, without --workers and --ray",
            "Leave it out, or use --name-from to make the names of models.",
        )
    check_alone(settings)
    if settings["until"] is not None:
        raise InvalidArgument(
            "--until is for a single file, without --workers and --ray",
            "Give one FILE, or a --tau for all of them.",
        )
    for name in UNTIL_NAMES:
        del settings[name]
    if settings["preview"] is not None:
        raise InvalidArgument(
            "--preview is for a single file, without --workers and --ray",
            "Attach previews with `dsvd attach`.",
        )
    paths = (*files, *(() if list_file is None else read_path_list(list_file)))
    try:
        with (
            open_registry() as registry,
            shown_progress() as progress,
            executor_of(workers, ray) as executor,
        ):
            found = registry.add_many(
                paths,
                executor=executor,
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
        goal = settings["until"]
        found_tau = tau_by_pictures(file, base, settings, registry, progress)
        if found_tau is not None:
            settings["tau"] = found_tau.tau
        addition = registry.add(file, base=base, name=name, progress=progress, **settings)
        report = registry.report(addition.ref).also_left_out(addition.left_out)
    warn(report)
    if as_json:
        found = {"created": addition.created, "upgraded": addition.upgraded, "report": report}
        found["taken_in"] = addition.taken_in
        how = {} if match is None else {"match": match}
        tried = {} if found_tau is None else {"until": {"goal": goal, **plain(found_tau)}}
        print_document(version_document(addition.version) | found | how | tried)
        return
    if found_tau is not None:
        print_attempts(found_tau, goal)
    if match is not None:
        print_match(match)
    if addition.created:
        print_line(f"added {addition.ref}")
    elif addition.upgraded:
        print_line(f"{addition.ref} was there already, and is lossless now")
    else:
        print_line(f"{addition.ref} was there already: the same file, base and settings")
    print_lossless(addition.version)
    print_taken_in(addition.taken_in)
    print_account(report)
