"""The command `dsvd evaluate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InvalidArgument
from .curve import Taus
from .documents import print_document
from .options import common_options, open_registry
from .progress import shown_progress
from .seeds import Seeds
from .tables import figure, print_line, print_table, text

if TYPE_CHECKING:
    from ..evaluation.models import Rounding


@click.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option(
    "--pipeline",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="The pipeline of the versions' base, as diffusers saves it.",
)
@click.option(
    "--reference",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Photographs of the subject; for several REFs a folder of them for each model, by its name.",
)
@click.option("--token", help="The rare word of the subject, such as sks.  [default: its metadata]")
@click.option("--class", "noun", help="What the subject is, such as dog.  [default: its metadata]")
@click.option(
    "--prompts",
    metavar="dreambooth|FILE",
    help="DreamBooth's prompts, or a file with one in each line, {} for the subject."
    "  [default: three]",
)
@click.option("--seeds", type=Seeds(), default="0-3", show_default=True, help="The seeds to paint.")
@click.option("--taus", type=Taus(), default=None, help="The taus.  [default: as stored]")
@click.option(
    "--with",
    "others",
    metavar="lora=FILE|int8|int8-per-tensor",
    multiple=True,
    help="Another way to store the fine-tune: a LoRA file (one for each REF), or 8-bit weights.",
)
@click.option(
    "--full",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    help="The fine-tune itself, for each REF.  [default: what a lossless version gives]",
)
@click.option(
    "--weights",
    metavar="NAME=PATH",
    multiple=True,
    help="A judge: clip, dino, dinov2 (folders of transformers); lpips, inception (files).",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of each picture.")
@click.option("--guidance", type=float, help="The guidance scale.")
@click.option("--size", "side", type=click.IntRange(min=16), help="Pixels of a side.")
@click.option(
    "--margin",
    type=float,
    default=0.05,
    show_default=True,
    help="What share of the likeness may be lost by what is called no worse.",
)
@click.option("--device", default="cpu", show_default=True, help="The torch device, such as cuda.")
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of the report; a run that was stopped goes on in it.",
)
@common_options
def evaluate(
    refs: tuple[str, ...],
    pipeline: Path,
    reference: Path | None,
    token: str | None,
    noun: str | None,
    prompts: str | None,
    seeds: tuple[int, ...],
    taus: tuple[float, ...] | None,
    others: tuple[str, ...],
    full: tuple[Path, ...],
    weights: tuple[str, ...],
    steps: int | None,
    guidance: float | None,
    side: int | None,
    margin: float,
    device: str,
    output: Path,
    as_json: bool,
) -> None:
    """Compare pictures by versions with those by their fine-tunes.

    Each REF, its base and the fine-tune itself paint the same prompts with the same seeds. The pictures
    are compared with the fine-tune's own, and with photographs of the subject if there are some. Nothing
    is downloaded.
    """
    from ..evaluation import EvaluationRequest, ReportFolder, Settings
    from ..evaluation import evaluate as evaluation_of
    from ..evaluation.models import LORA

    loras, roundings = _others(others)
    request = EvaluationRequest(
        refs=refs,
        pipeline=pipeline,
        reference=reference,
        token=token,
        noun=noun,
        prompts=prompts,
        seeds=seeds,
        taus=taus or (),
        full=full,
        loras={LORA: loras} if loras else {},
        roundings=roundings,
        weights=dict(_named(one) for one in weights),
        settings=Settings(steps, guidance, side),
        device=device,
        margin=margin,
    )
    folder = ReportFolder(output)
    with open_registry() as registry, shown_progress() as progress:
        registry.check_output(output)
        folder.prepare()
        found = evaluation_of(request, registry, folder.pictures, progress=progress)
        folder.write(found)
    if as_json:
        from ..evaluation.report.document import summary

        print_document({"report": output / "index.html", **summary(found)})
        return
    from ..evaluation.report.tables import headline, remarks, verdicts

    titles, rows = headline(found)
    print_table([text("model"), figure("bytes"), *map(figure, titles)], rows)
    print_line()
    for sentence in (*verdicts(found), *remarks(found)):
        print_line(sentence)
    print_line(f"wrote {output / 'index.html'}")


def _others(others: Sequence[str]) -> tuple[tuple[Path, ...], tuple[Rounding, ...]]:
    """The LoRA files and the roundings that --with names."""
    loras: list[Path] = []
    roundings: list[Rounding] = []
    for one in others:
        if one.startswith("lora=") and one != "lora=":
            loras.append(Path(one.removeprefix("lora=")))
        elif one == "int8":
            roundings.append("int8 per channel")
        elif one == "int8-per-tensor":
            roundings.append("int8 per tensor")
        else:
            raise InvalidArgument(
                f"--with {one!r} is not known", "Give lora=FILE, int8 or int8-per-tensor."
            )
    return tuple(loras), tuple(dict.fromkeys(roundings))


def _named(one: str) -> tuple[str, Path]:
    """The name and the path of NAME=PATH."""
    name, equals, path = one.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not equals or not path:
        raise InvalidArgument(
            f"--weights {one!r} is not of the form NAME=PATH",
            "Give a name and a path, such as clip=models/clip-vit-base-patch32.",
        )
    return name, Path(path)
