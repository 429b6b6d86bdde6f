"""The command `dsvd archive`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .. import number_format
from ..errors import InvalidArgument
from ..registry import Archived, ArchivePlan, Staying, StoppedArchive
from .add_summary import print_paths
from .confirm import is_confirmed
from .documents import plain, print_document
from .errors import INTERRUPTED
from .options import common_options, open_registry
from .printable_text import color, printable
from .progress import shown_progress
from .tables import figure, print_line, print_table, text


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--base",
    metavar="NAME",
    help="The base that the files are fine-tunes of.  [default: the best match of each, if it is sure]",
)
@click.option(
    "--lossless",
    is_flag=True,
    help="Keep every byte.  [default: yes, unless --tau is given]",
)
@click.option(
    "--tau",
    type=float,
    help="Keep this share of each layer's change only: the exact files are lost for good.",
)
@click.option(
    "--link-to",
    metavar="MOUNT",
    type=click.Path(path_type=Path),
    help="Leave links to the files of this mounted registry (`dsvd mount`) in their places.",
)
@click.option(
    "--loras/--no-loras",
    default=True,
    show_default=True,
    help="Archive LoRA files too, though they take more room in the registry than outside.",
)
@click.option(
    "--name-from",
    metavar="WHERE",
    help="Make the names of models from: parent, stem, or a pattern such as {parent}-{stem}.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
@click.option(
    "--lose-originals",
    is_flag=True,
    help="With --tau: do not ask whether the exact files may be lost.",
)
@common_options
@click.pass_context
def archive(
    ctx: click.Context,
    /,
    folder: Path,
    link_to: Path | None,
    dry_run: bool,
    yes: bool,
    lose_originals: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Add the checkpoints below a folder, then delete them.

    Every checkpoint in FOLDER, and in folders below it, becomes a version, by default a lossless one.
    A file is deleted when everything that gives it back was verified and the file itself was read once
    more; any other stays, and is listed with the reason. LoRA files take more room in the registry than
    outside; with --no-loras they stay. `dsvd restore` puts files back.

    First the command says what it will delete and how much room that frees, and asks. After an
    interrupt the same command goes on.
    """
    if options["tau"] is None:
        options["lossless"] = True
    try:
        with open_registry() as registry, shown_progress() as progress:
            plan = registry.plan_archive(folder, link_to=link_to, progress=progress, **options)
        if dry_run or not plan.files:
            _print_planned(plan, as_json=as_json)
            ctx.exit(_exit_code(plan))
        _say(plan)
        if not _may_go_on(plan, yes=yes, lose_originals=lose_originals):
            click.echo("nothing was archived", err=True)
            return
        with open_registry() as registry, shown_progress() as progress:
            found = registry.archive(plan, progress=progress)
    except StoppedArchive as stopped:
        _print(stopped.found, INTERRUPTED, as_json=as_json)
        raise
    _print(found, found.exit_code, as_json=as_json)
    ctx.exit(found.exit_code)


def _exit_code(plan: ArchivePlan) -> int:
    return next((file.exit_code for file in plan.staying if file.exit_code), 0)


def _may_go_on(plan: ArchivePlan, *, yes: bool, lose_originals: bool) -> bool:
    files = number_format.counted(len(plan.files), "file")
    if plan.lossy_files and not lose_originals:
        lost = number_format.counted(len(plan.lossy_files), "file")
        if yes:
            raise InvalidArgument(
                f"the exact bytes of {lost} would be lost for good, and --yes does not cover that",
                "Leave --tau out to keep every byte, or give --lose-originals too.",
            )
        if not is_confirmed(f"Lose the exact bytes of {lost} for good?", "--lose-originals"):
            return False
    return yes or is_confirmed(f"Archive and delete {files}?")


def _say(plan: ArchivePlan) -> None:
    """Say on stderr what will be done."""
    files = number_format.counted(len(plan.files), "file")
    click.echo(
        f"{files} of {number_format.size(plan.file_bytes)} will be added, checked and deleted; "
        f"{_estimate(plan)}",
        err=True,
    )
    if plan.lossy_files:
        lost = number_format.counted(len(plan.lossy_files), "file")
        warning = (
            f"WARNING: {lost} will be kept only LOSSILY. Their exact bytes are lost for good, and no "
            "command brings them back."
        )
        click.echo(click.style(warning, fg="red", bold=True), err=True, color=color())


def _estimate(plan: ArchivePlan) -> str:
    freed = plan.freed_bytes
    if freed is None:
        return "how much room that frees is known only when they are encoded"
    if freed < 0:
        return f"by an estimate the registry then needs {number_format.size(-freed)} more than that"
    return f"by an estimate that frees {number_format.size(freed)}"


def _print_planned(plan: ArchivePlan, *, as_json: bool) -> None:
    if as_json:
        print_document(
            {
                "files": plan.files,
                "staying": plan.staying,
                "other_files": plan.other_files,
                "file_bytes": plan.file_bytes,
                "estimated_freed_bytes": plan.freed_bytes,
                "lossy_files": plan.lossy_files,
                "exit_code": _exit_code(plan),
            }
        )
        return
    if plan.files:
        columns = (text("model"), text("base"), figure("size"), figure("estimate"), text("file"))
        print_table(
            columns,
            (
                (
                    file.model,
                    file.base,
                    number_format.size(file.size),
                    "" if file.stored_bytes is None else number_format.size(file.stored_bytes),
                    printable(str(file.path)),
                )
                for file in plan.files
            ),
        )
    _print_staying(plan.staying)
    print_line()
    print_line(
        f"{number_format.counted(len(plan.files), 'file')} of {number_format.size(plan.file_bytes)} "
        f"would be archived; {_estimate(plan)}"
    )
    if plan.lossy_files:
        lost = number_format.counted(len(plan.lossy_files), "file")
        print_line(f"the exact bytes of {lost} would be lost for good")
    others = number_format.counted(plan.other_files, "other file")
    print_line(f"{others} below the folder: no checkpoints, and left alone")


def _print(found: Archived, exit_code: int, *, as_json: bool) -> None:
    if as_json:
        sums = {
            "file_bytes": found.file_bytes,
            "freed_bytes": found.freed_bytes,
            "exit_code": exit_code,
        }
        print_document(plain(found) | sums)
        return
    if found.files:
        columns = (text("version"), figure("size"), text("kept"), text("file"))
        print_table(
            columns,
            (
                (
                    file.ref,
                    number_format.size(file.size),
                    "every byte" if file.is_exact else "lossily",
                    printable(str(file.path)),
                )
                for file in found.files
            ),
        )
    _print_staying(found.staying)
    print_paths("not reached", [str(path) for path in found.not_reached])
    print_line()
    freed = found.freed_bytes
    room = (
        f"{number_format.size(freed)} freed"
        if freed >= 0
        else f"{number_format.size(-freed)} more needed"
    )
    print_line(
        f"{number_format.counted(len(found.files), 'file')} archived, {len(found.staying)} left: "
        f"{number_format.size(found.file_bytes)} before, "
        f"{number_format.size(found.stored_bytes)} after, {room}"
    )


def _print_staying(staying: Sequence[Staying]) -> None:
    lines = []
    for file in staying:
        names_path = str(file.path) in file.reason
        lines.append(file.reason if names_path else f"{file.path} {file.reason}")
        if file.hint:
            lines.append(f"  hint: {file.hint}")
    print_paths("stay where they are", lines, len(staying))
