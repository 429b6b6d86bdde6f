"""The command `dsvd subtract`."""

from __future__ import annotations

from typing import Any

import click

from .merge import merge_options, store_sum


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@merge_options
def subtract(left: str, right: str, name: str, as_json: bool, **options: Any) -> None:
    """Store version A without the change of version B.

    The result is a new version: the base plus A's change of the base, minus B's, as by `dsvd merge
    A:1 B:-1`. If A was trained on from B, what remains is what the second training changed. What
    cannot be subtracted, such as tensors that the base lacks, is A's, unless --take-from names B.
    """
    options["take_from"] = options["take_from"] or left
    store_sum([(left, 1.0), (right, -1.0)], [left, right], name, options, as_json=as_json)
