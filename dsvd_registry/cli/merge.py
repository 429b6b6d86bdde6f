"""The command `dsvd merge`."""

from __future__ import annotations

from typing import Any

import click

from ..errors import InvalidArgument
from ..registry import Addition, LayerWeight, Report
from ..registry.accounts.version_text import merged_from
from .account import print_account, warn
from .documents import print_document, version_document
from .options import Command, common_options, open_registry
from .progress import shown_progress
from .tables import print_line


def merge_options(command: Command) -> Command:
    """Add the options that `merge` and `subtract` share."""
    for option in reversed(
        (
            click.option("--name", required=True, help="The model to add a version to."),
            click.option(
                "--tau",
                type=float,
                help="Share of each layer's change to keep, above 0 and up to 1.  [default: 1]",
            ),
            click.option(
                "--max-error",
                type=float,
                help="Instead of tau: the fewest bytes at this relative error to the exact sum,"
                " below 1.",
            ),
            click.option(
                "--layers",
                metavar="[REF=]PATTERN:WEIGHT",
                multiple=True,
                help="Multiply the weights by this in the tensors, or layer groups, that a shell"
                " pattern matches; may be repeated, and the last match counts. With REF, in that"
                " version alone.",
            ),
            click.option(
                "--take-from",
                metavar="REF",
                help="The version whose tensors are taken where the versions differ in what cannot"
                " be added up, such as integers and tensors that the base lacks.",
            ),
            click.option("--note", default="", metavar="TEXT", help="A note on the version."),
            click.option(
                "--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be repeated."
            ),
            common_options,
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("versions", metavar="REF:WEIGHT...", nargs=-1, required=True)
@merge_options
def merge(versions: tuple[str, ...], name: str, as_json: bool, **options: Any) -> None:
    """Store a weighted sum of versions of one base.

    The result is a new version: the base plus, for each REF, WEIGHT times that version's change of
    the base. Weights may be negative, and need not sum to 1. It is made from the stored changes alone.
    The first version decides the layout, the names and the dtypes of the tensors.

    By default nothing of the sum is left out (tau 1), which takes many bytes; --tau and --max-error
    store less of it. The same merge again is recognised, and nothing is computed.
    """
    weighted = [(ref, _number(weight, text)) for text, ref, weight in map(_split, versions)]
    refs = [ref for ref, _ in weighted]
    store_sum(weighted, refs, name, options, as_json=as_json)


def store_sum(
    weighted: list[tuple[str, float]],
    refs: list[str],
    name: str,
    options: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Merge, and print what was stored; `options` are those of `merge_options`."""
    options["layers"] = [_layer_weight(text, refs) for text in options["layers"]]
    with open_registry() as registry, shown_progress() as progress:
        addition = registry.merge(weighted, name=name, progress=progress, **options)
        report = registry.report(addition.ref)
    _print(addition, report, as_json=as_json)


def _print(addition: Addition, report: Report, *, as_json: bool) -> None:
    warn(report)
    if as_json:
        found = {"created": addition.created, "report": report}
        print_document(version_document(addition.version) | found)
        return
    if addition.created:
        print_line(f"merged {addition.ref} from {merged_from(addition.version)}")
    else:
        print_line(f"{addition.ref} was there already: the same versions, weights and fidelity")
    print_account(report)


def _layer_weight(text: str, refs: list[str]) -> LayerWeight:
    _, rest, weight = _split(text)
    ref, separator, pattern = rest.partition("=")
    if separator and ref in refs:
        return LayerWeight(pattern, _number(weight, text), ref)
    return LayerWeight(rest, _number(weight, text))


def _split(text: str) -> tuple[str, str, str]:
    """The text, and its parts before and after the last colon. Raises `InvalidArgument`."""
    before, colon, weight = text.rpartition(":")
    if not colon or not before:
        raise InvalidArgument(
            f"{text!r} has no weight", f"Write {text.strip(':')}:0.5, for example."
        )
    return text, before, weight


def _number(weight: str, text: str) -> float:
    try:
        return float(weight)
    except ValueError:
        raise InvalidArgument(
            f"the weight {weight!r} of {text!r} is not a number",
            "Write a number such as 0.5 or -1.",
        ) from None
