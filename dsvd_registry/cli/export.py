"""The command `dsvd export`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast, get_args

import click

from .. import number_format
from ..errors import InvalidArgument
from ..export import DTYPES, FORMATS, Dtype, ExportedLora, Format, LeftOut
from .attachments import print_written
from .documents import print_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import print_line

CONTAINER = "dsvd"
TOO_MUCH = 0.01  # relative error of rounding from which on fp32 is suggested


@click.command()
@click.argument("ref")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice([*FORMATS, CONTAINER]),
    help="kohya (A1111, Forge), peft (diffusers, PEFT) or comfyui: a LoRA. dsvd: the version itself.",
)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write. For peft, a name without .safetensors is a folder for PEFT.",
)
@click.option(
    "--rank-limit",
    type=int,
    metavar="R",
    help="The largest rank of a layer; for peft, the rank of every layer, filled up with zeros.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help=f"The dtype of the LoRA's numbers.  [default: {get_args(Dtype)[0]}]",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@common_options
def export(
    ref: str,
    form: str,
    output: Path,
    rank_limit: int | None,
    dtype: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a version as a LoRA or as a .dsvd file.

    For a LoRA, the command prints the tensors that the format cannot represent, and the error that
    this causes. A .dsvd file is for `dsvd import` in another registry.
    """
    with open_registry() as registry, shown_progress() as progress:
        version = registry.version(ref)
        if form == CONTAINER:
            _check_whole(rank_limit, dtype)
            written = registry.export_container(
                version.ref, output, replace=force, progress=progress
            )
            if as_json:
                print_document({"ref": version.ref, "written": written})
            else:
                print_line(
                    f"wrote {written.path}: {version.ref}, {number_format.size(written.size)}"
                )
                print_line(f"SHA-256 {written.sha256}")
                if written.signatures is not None:
                    print_line(f"wrote {written.signatures}: its signatures")
                if written.residual is not None:
                    print_line(f"wrote {written.residual}: its residual")
                if written.original is not None:
                    print_line(f"wrote {written.original}: the file that was added")
                if written.description is not None:
                    print_line(f"wrote {written.description}: its metadata and attachments")
            return
        lora = registry.export_lora(
            version.ref,
            output,
            format=cast(Format, form),
            rank_limit=rank_limit,
            dtype=cast(Dtype, dtype or DTYPES[0]),
            replace=force,
            progress=progress,
        )
        beside = registry.write_beside(version.ref, output) if output.is_file() else ()
    if as_json:
        print_document({"ref": version.ref, "written": lora, "beside": list(map(str, beside))})
    else:
        _print(version.ref, lora)
        print_written(beside)


def _check_whole(rank_limit: int | None, dtype: str | None) -> None:
    """Raise `InvalidArgument` for options that are for LoRA files only."""
    if rank_limit is not None or dtype is not None:
        raise InvalidArgument(
            "a .dsvd file is the version as it is stored: --rank-limit and --dtype are for LoRA files",
            "Leave them out, or ask for --format kohya, peft or comfyui.",
        )


def _print(ref: str, lora: ExportedLora) -> None:
    print_line(
        f"wrote {lora.path}: {ref} as a LoRA for {lora.format}, {lora.dtype}, "
        f"{number_format.size(lora.size)}"
    )
    if lora.sha256 is not None:
        print_line(f"SHA-256 {lora.sha256}")
    else:
        for file in lora.files:
            print_line(f"SHA-256 {file.sha256} {file.path.relative_to(lora.path)}")
    ranks = sorted(lora.ranks)
    words = [f"{number_format.counted(len(ranks), 'module')}"]
    if ranks:
        words.append(f"ranks {ranks[0]} to {ranks[-1]}, median {ranks[len(ranks) // 2]}")
    if lora.differences:
        words.append(number_format.counted(len(lora.differences), "whole delta"))
    print_line(", ".join(words))
    causes = (
        ("left out", lora.left_out_error),
        ("cut ranks", lora.cut_error),
        ("rounding", lora.rounding_error),
    )
    parts = ", ".join(f"{name} {number_format.relative(error)}" for name, error in causes)
    print_line(
        f"relative error to what the version holds {number_format.relative(lora.error)}: {parts}"
    )
    if lora.rounding_error > TOO_MUCH:
        print_line(f"so small a change loses bits in {lora.dtype}: --dtype fp32 keeps them")
    _print_left_out(lora.left_out)


def _print_left_out(entries: tuple[LeftOut, ...]) -> None:
    """Print each reason with its number of tensors, and the tensor that costs the most."""
    if not entries:
        return
    print_line()
    print_line(f"left out ({number_format.count(len(entries))}); --json lists them all:")
    for reason, number in Counter(entry.reason for entry in entries).most_common():
        costly = max(
            (entry for entry in entries if entry.reason == reason),
            key=lambda entry: entry.error or 0.0,
        )
        error = "" if costly.error is None else f", alone {number_format.relative(costly.error)}"
        tensors = number_format.counted(number, "tensor")
        print_line(f"  {tensors}: {reason}; the most costly is {costly.name}{error}")
