"""A question before something is removed for good."""

from __future__ import annotations

import sys

import click

from ..errors import InvalidArgument


def is_confirmed(question: str, option: str = "--yes") -> bool:
    """Ask a question on the terminal. Raises `InvalidArgument` if there is no terminal.

    `option`: the option that says yes.
    """
    if not sys.stdin.isatty():
        raise InvalidArgument(
            f"{question} There is no terminal to ask on, so nothing was done",
            f"Give {option} to do it.",
        )
    return click.confirm(question, err=True)
